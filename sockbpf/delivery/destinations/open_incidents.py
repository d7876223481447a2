# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which incidents are open at one receiver, and by which episodes. Pure: no I/O, the clock is an argument.

An incident begins with the first of its episodes and ends with the last of them. An episode keeps the incident in
which it began, as its owner may become known only later. What was not told for `FORGET_S` counts as ended; what an
earlier run of the monitor left open, if it is not told for `GOES_ON_S`.
"""

from __future__ import annotations

import threading
from collections import Counter, OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sockbpf.record.alert import CLEARED
from sockbpf.record.facts import Severity
from sockbpf.record.incident import fields_of, incident_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sockbpf.record.left import Left

MOST_EPISODES = 4096
"""Open episodes that are remembered; of more, those that were not told for longest are forgotten."""

FORGET_S = 3600.0
GOES_ON_S = 300.0

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
    is_known: bool = True
    """Whether this run of the monitor has told it."""


class OpenIncidents:
    """What was told to one receiver and is open there; safe from several threads. `now_s` is monotonic."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._episodes: OrderedDict[str, _Episode] = OrderedDict()
        """By id; the one told last is at the end."""
        self._open: Counter[str] = Counter()
        """Incident -> how many of its episodes are open."""
        self._known: Counter[tuple[str, bool]] = Counter()
        """Incident, and whether critical -> how many of these this run has told."""

    def __len__(self) -> int:
        """Return how many episodes are remembered."""
        return len(self._episodes)

    def standing(self, fields: Mapping[str, str]) -> Standing:
        """Return how this alert stands to what was told before."""
        with self._lock:
            own = self._episodes.get(fields["id"])
            incident = own.incident if own else incident_of(fields)
            is_known = bool(
                self._known[incident, True] or (self._known[incident, False] and not _is_critical(fields))
            )
            return Standing(incident, self._open[incident] - bool(own), is_known)

    def told(self, fields: Mapping[str, str], incident: str, now_s: float) -> None:
        """Take note that this alert of an incident was told, or was nothing new to the receiver."""
        with self._lock:
            self._forget(fields["id"])
            if fields["event"] != CLEARED:
                self._add(fields["id"], _Episode(incident, _is_critical(fields), now_s))
            while self._episodes:
                oldest, episode = next(iter(self._episodes.items()))
                if len(self._episodes) <= MOST_EPISODES and now_s - episode.told_s < FORGET_S:
                    break
                self._forget(oldest)

    def take_over(self, left: Iterable[Mapping[str, str]], now_s: float) -> None:
        """Take note of what an earlier run told and left open: none of it ends an incident of which it is a part."""
        with self._lock:
            for fields in list(left)[-MOST_EPISODES:]:
                told_s = now_s + GOES_ON_S - FORGET_S
                self._forget(fields["id"])
                self._add(
                    fields["id"], _Episode(incident_of(fields), _is_critical(fields), told_s, is_known=False)
                )

    def _add(self, id_: str, episode: _Episode) -> None:
        self._episodes[id_] = episode
        self._open[episode.incident] += 1
        self._known[episode.incident, episode.is_critical] += episode.is_known

    def _forget(self, id_: str) -> None:
        episode = self._episodes.pop(id_, None)
        if episode is None:
            return
        self._open[episode.incident] -= 1
        self._known[episode.incident, episode.is_critical] -= episode.is_known
        if not self._open[episode.incident]:
            del self._open[episode.incident]
            for is_critical in (True, False):
                self._known.pop((episode.incident, is_critical), None)


def open_at(place: str) -> OpenIncidents:
    """Return what is open at a receiver, by what tells it from all others; it is known to new settings too."""
    known = _open_at.setdefault(place, OpenIncidents())
    _open_at.move_to_end(place)
    while len(_open_at) > MOST_PLACES:
        _open_at.popitem(last=False)
    return known


def take_over(lefts: Iterable[Left], host: str, now_s: float) -> None:
    """Have each receiver that is known go on with what an earlier run of the monitor left open."""
    fields = [
        fields_of(left, host) for left in lefts if not left.fold
    ]  # those of a fold were not told by themselves
    for known in _open_at.values():
        known.take_over(fields, now_s)


def _is_critical(fields: Mapping[str, str]) -> bool:
    return fields.get("severity") == Severity.CRITICAL.value
