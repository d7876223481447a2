# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which incidents are open at one receiver, and by which episodes. Pure: no I/O, the clock is an argument.

An incident begins with the first of its episodes and ends with the last of them. An episode keeps the incident in
which it began, as its owner may become known only later. What was not told for `FORGET_S` counts as ended.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sockbpf.record.alert import CLEARED
from sockbpf.record.facts import Severity
from sockbpf.record.incident import incident_of

if TYPE_CHECKING:
    from collections.abc import Mapping

MOST_EPISODES = 4096
"""Open episodes that are remembered; of more, those that were not told for longest are forgotten."""

FORGET_S = 3600.0

MOST_PLACES = 64
"""Receivers of which is remembered what is open there, over changes of the settings too."""

_open_at: OrderedDict[str, OpenIncidents] = OrderedDict()


@dataclass(frozen=True, slots=True)
class Standing:
    """How an alert stands to what is open before it."""

    incident: str
    others: int
    """Open episodes of the incident besides that of the alert."""
    is_known: bool
    """Whether the incident is open, and at least as severe as the alert is."""

    def open_after(self, event: str) -> int:
        """Return how many episodes of the incident are open once this event was told."""
        return self.others + (event != CLEARED)


@dataclass(slots=True)
class _Episode:
    incident: str
    is_critical: bool
    told_s: float


class OpenIncidents:
    """What was told to one receiver and is open there; safe from several threads. `now_s` is monotonic."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._episodes: OrderedDict[str, _Episode] = OrderedDict()
        """By id; the one told last is at the end."""
        self._open: Counter[str] = Counter()
        """Incident -> how many of its episodes are open."""
        self._critical: Counter[str] = Counter()
        """Incident -> how many of these are critical."""

    def __len__(self) -> int:
        """Return how many episodes are remembered."""
        return len(self._episodes)

    def standing(self, fields: Mapping[str, str]) -> Standing:
        """Return how this alert stands to what was told before."""
        with self._lock:
            own = self._episodes.get(fields["id"])
            incident = own.incident if own else incident_of(fields)
            is_open, is_critical = self._open[incident] > 0, self._critical[incident] > 0
            is_known = is_open and (is_critical or not _is_critical(fields))
            return Standing(incident, self._open[incident] - bool(own), is_known)

    def told(self, fields: Mapping[str, str], incident: str, now_s: float) -> None:
        """Take note that this alert of an incident was told, or was nothing new to the receiver."""
        with self._lock:
            self._forget(fields["id"])
            if fields["event"] != CLEARED:
                episode = _Episode(incident, _is_critical(fields), now_s)
                self._episodes[fields["id"]] = episode
                self._open[incident] += 1
                self._critical[incident] += episode.is_critical
            while self._episodes:
                oldest, episode = next(iter(self._episodes.items()))
                if len(self._episodes) <= MOST_EPISODES and now_s - episode.told_s < FORGET_S:
                    break
                self._forget(oldest)

    def _forget(self, id_: str) -> None:
        episode = self._episodes.pop(id_, None)
        if episode is None:
            return
        for counter, amount in ((self._open, 1), (self._critical, episode.is_critical)):
            counter[episode.incident] -= amount
            if counter[episode.incident] <= 0:
                del counter[episode.incident]


def open_at(place: str) -> OpenIncidents:
    """Return what is open at a receiver, by what tells it from all others; it is known to new settings too."""
    known = _open_at.setdefault(place, OpenIncidents())
    _open_at.move_to_end(place)
    while len(_open_at) > MOST_PLACES:
        _open_at.popitem(last=False)
    return known


def _is_critical(fields: Mapping[str, str]) -> bool:
    return fields.get("severity") == Severity.CRITICAL.value
