# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which open episodes each alert of Alertmanager stands for: there a set of labels is the alert. Pure: no I/O.

Episodes whose labels are equal, of several sockets of one service or of one queue that flaps, are one alert: it
begins with the first of them and ends with the last. An episode keeps the labels with which it began, as its owner
may become known only later. What was not told for `FORGET_S` counts as ended: its `cleared` was lost or never sent.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Any

Posted = dict[str, Any]
"""An alert in the form of Alertmanager's API."""

MOST_EPISODES = 4096
"""Open episodes that are remembered; of more, those that were not told for longest are forgotten."""

FORGET_S = 3600.0

OPEN = "open"
"""The annotation with how many episodes an alert stands for, where these are several."""

Key = frozenset[tuple[str, str]]


@dataclass(slots=True)
class _Firing:
    """What is known of one set of labels while an episode of it is open. Times are RFC 3339, of one length."""

    since: str
    until: str = ""
    """The last end of an episode so far; empty if none has ended."""
    annotations: OrderedDict[str, dict[str, str]] = field(default_factory=OrderedDict)
    """Id of each open episode -> its annotations, those told last at the end."""


class LabelSets:
    """What was posted to one Alertmanager and is open there; safe from several threads. `now_s` is monotonic."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._firing: dict[Key, _Firing] = {}
        self._told: OrderedDict[str, tuple[Key, float]] = OrderedDict()
        """Id of an open episode -> its labels, and when it was told last; the one told last is at the end."""

    def __len__(self) -> int:
        """Return how many episodes are remembered."""
        return len(self._told)

    def merged(self, id_: str, alert: Posted) -> Posted:
        """Return what is to be posted for this alert of an episode; it ends what it stands for if it has `endsAt`."""
        with self._lock:
            key = self._told[id_][0] if id_ in self._told else _key(alert)
            firing = self._firing.get(key)
            if firing is None:
                return alert
            others = [each for each in firing.annotations if each != id_]
            made: Posted = {
                "labels": dict(key),
                "annotations": alert["annotations"],
                "startsAt": min(firing.since, alert["startsAt"]),
            }
            if "endsAt" in alert and others:  # goes on: of those still open the one told last speaks for all
                made["annotations"] = firing.annotations[others[-1]]
            elif "endsAt" in alert:
                made["endsAt"] = max(firing.until, alert["endsAt"])
            count = len(others) + ("endsAt" not in alert)
            if count > 1:
                made["annotations"] = made["annotations"] | {OPEN: str(count)}
            return made

    def posted(self, id_: str, alert: Posted, now_s: float) -> None:
        """Take note that this alert, as it was before `merged`, has been posted."""
        with self._lock:
            key, _ = self._told.pop(id_, (_key(alert), 0.0))
            if "endsAt" in alert:
                self._end(id_, key, alert["endsAt"])
            else:
                firing = self._firing.setdefault(key, _Firing(alert["startsAt"]))
                firing.since = min(firing.since, alert["startsAt"])
                firing.annotations.pop(id_, None)
                firing.annotations[id_] = alert["annotations"]
                self._told[id_] = key, now_s
            while self._told:
                oldest, (its_key, told_s) = next(iter(self._told.items()))
                if len(self._told) <= MOST_EPISODES and now_s - told_s < FORGET_S:
                    break
                del self._told[oldest]
                self._end(oldest, its_key)

    def _end(self, id_: str, key: Key, ends_at: str = "") -> None:
        if firing := self._firing.get(key):
            firing.annotations.pop(id_, None)
            firing.until = max(firing.until, ends_at)
            if not firing.annotations:
                del self._firing[key]


def _key(alert: Posted) -> Key:
    return frozenset(alert["labels"].items())
