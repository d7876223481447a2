# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Accept queues: connections that wait for too long in too great number, and those that are dropped.

Pure: no I/O, no clock of its own. A listener can have two episodes at once, each of its own severity: a warning while
more connections wait than the threshold, a critical one from an overflow on; while that lasts no warning begins.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sockbpf.judge.episodes import Episode, Episodes
from sockbpf.judge.levels import Levels
from sockbpf.judge.looked import ABSENT_LOOKS
from sockbpf.judge.overflows import Suspect, overflows_by_listener
from sockbpf.judge.own_episodes import OwnEpisodes
from sockbpf.record.event import Direction, Mode
from sockbpf.record.facts import Condition, Facts, Fill, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sockbpf.counters import Counters
    from sockbpf.judge.episodes import OwnerOf
    from sockbpf.record.alert import Notice
    from sockbpf.record.listening import Listener, ListenLook, Place

LISTEN = 10
"""The TCP state."""


@dataclass(frozen=True, slots=True)
class ListenerSettings:
    """When a listener is over: `backlog` is a number of connections or a share of its own backlog."""

    backlog: int | Fill
    """0: never, and no overflow is an alert either."""
    clear_ratio: float
    hold_ns: int
    repeat_ns: int

    def levels(self, limit: int) -> Levels:
        """Return the levels of a listener with this backlog, connections; one that waits is never too many."""
        backlog = self.backlog
        threshold = max(limit * backlog.percent // 100, 1) if isinstance(backlog, Fill) else backlog
        return Levels(threshold, int(threshold * self.clear_ratio), self.hold_ns, self.repeat_ns)


@dataclass(slots=True)
class _Known:
    """A listener as it was seen last."""

    listener: Listener
    over_ns: int | None = None
    """Since when all looks have found it over; None: it is not."""
    overflowed_ns: int = 0
    """When it was last seen to have overflowed."""
    dropped: int = 0
    """Connections that it dropped since it was first seen."""
    is_counted: bool = True
    """Whether `dropped` is all of them."""
    before: dict[Severity, int] = field(default_factory=dict)
    """Severity of an open episode -> `dropped` when it began."""
    absent: int = 0

    def drop(self, drops: int | None, ns: int) -> None:
        """Take note of an overflow; None: not known how many were dropped."""
        self.overflowed_ns = ns
        self.dropped += drops or 0
        self.is_counted = drops is not None and (self.is_counted or not self.before)

    def facts(self, severity: Severity, waiting: int) -> Facts:
        drops = self.dropped - self.before[severity] if self.is_counted else None
        return Facts(self.listener.limit, waiting, LISTEN, drops)


class Listeners(OwnEpisodes):
    """Makes notices of what looks show of listeners."""

    def __init__(self, settings: ListenerSettings, counters: Counters, salt: str, owner_of: OwnerOf) -> None:
        """Begin with no open episode; `salt` and `owner_of` are those of `Policy`."""
        self.settings = settings
        self.episodes = Episodes(counters, f"listeners {salt}", owner_of)
        self._counters = counters
        self._known: dict[Place, _Known] = {}
        self._counts: dict[int, int] = {}
        """Namespace -> its count of overflows at the last look at it."""
        self._unnamed: dict[int, int] = {}
        """Namespace -> how many of these were of no listener that was seen to drop: the next look may show it."""
        self._places: frozenset[int] | None = None
        """The namespaces that there were at the last look; None before the first."""

    def use_settings(self, settings: ListenerSettings) -> None:
        """Use other settings from now on. An open episode keeps its threshold, and ends at its new clear level."""
        self.settings = settings
        limits = {episode.socket: episode.facts.limit for episode in self.episodes.open.values()}
        self.episodes.use_levels(lambda socket, _: settings.levels(limits[socket]))

    def on_look(self, seen: ListenLook) -> list[Notice]:
        """Take a look, and return the notices."""
        if not self.settings.backlog:
            return self._forget(seen)
        overflowed = self._overflowed(seen)
        notices: list[Notice] = []
        gone = set(self._known)
        for listener in seen.listeners:
            place = listener.place
            known = self._known.setdefault(place, _Known(listener))
            gone.discard(place)
            known.listener, known.absent = listener, 0
            if not listener.is_own:
                notices += self._judge(place, known, seen, overflowed)
        for place in gone:
            notices += self._miss(place, seen)
        self._places = seen.places
        return notices

    def _forget(self, seen: ListenLook) -> list[Notice]:
        """End all episodes: alerts about listeners are not wanted any more. The next look is as the first one."""
        notices: list[Notice] = []
        for place, known in self._known.items():
            notices += self._end(place, known, tuple(Severity), seen)
        self._known.clear()
        self._counts.clear()
        self._unnamed.clear()
        self._places = None
        return notices

    # overflows

    def _overflowed(self, seen: ListenLook) -> dict[Place, int | None]:
        """Return which listeners have overflowed since the last look, and how often; None: not known how often."""
        found: dict[Place, int | None] = {}
        by_namespace: dict[int, list[Suspect]] = {netns: [] for netns in seen.overflows}
        for listener in seen.listeners:
            if suspect := self._suspect(listener):
                by_namespace[listener.socket.netns].append(suspect)
        for netns, count in seen.overflows.items():
            # In a namespace that is new all has happened since the last look.
            is_new = self._places is not None and netns not in self._places
            rise = count - self._counts.get(netns, 0 if is_new else count)
            self._counts[netns] = count
            carried = self._unnamed.pop(netns, 0)
            named, left = overflows_by_listener(rise + carried, by_namespace[netns])
            found |= {(netns, cookie): drops for cookie, drops in named.items()}
            # The count is read after the drops of the listeners: these may be seen at the next look.
            if rise_left := min(left, rise):
                self._unnamed[netns] = rise_left
            self._counters.add("overflows_unnamed", left - rise_left)
        for netns in self._counts.keys() - seen.places:
            del self._counts[netns]
            self._unnamed.pop(netns, None)
        return found

    def _suspect(self, listener: Listener) -> Suspect | None:
        known = self._known.get(listener.place)
        if known is None and self._places is None:  # the first look of all
            return None
        before = known.listener if known else None
        drops = listener.drops
        if drops is not None and before and before.drops is not None:
            drops = (drops - before.drops) % 2**32
        return Suspect(listener.cookie, drops, listener.is_full or bool(before and before.is_full))

    # episodes

    def _judge(
        self, place: Place, known: _Known, seen: ListenLook, overflowed: dict[Place, int | None]
    ) -> list[Notice]:
        waiting = known.listener.waiting
        dropped_before, has_overflowed = known.dropped, place in overflowed
        if has_overflowed:
            known.drop(overflowed[place], seen.ended_ns)
        levels = self.settings.levels(known.listener.limit)
        notices: list[Notice] = []
        if waiting > levels.threshold:
            known.over_ns = seen.ended_ns if known.over_ns is None else known.over_ns
        elif waiting <= levels.clear:
            known.over_ns = None
            notices += self._end(place, known, (Severity.WARNING,), seen)
        if self._is_calm(known, levels, seen):
            notices += self._end(place, known, (Severity.CRITICAL,), seen)
        for severity in known.before:
            self._update(self.episodes.open[place, severity], known, seen)
        if has_overflowed and Severity.CRITICAL not in known.before:
            known.before[Severity.CRITICAL] = dropped_before
            notices += self._begin_overflow(place, known, levels, seen)
        elif known.over_ns is not None and not known.before and self._is_held(known.over_ns, seen):
            known.before[Severity.WARNING] = known.dropped
            notices += self._begin(place, known, levels, known.over_ns)
        return notices

    def _is_held(self, since_ns: int, seen: ListenLook) -> bool:
        """Tell whether a hold has passed between an instant and this look."""
        return not self.settings.hold_ns or seen.begun_ns - since_ns >= self.settings.hold_ns

    def _is_calm(self, known: _Known, levels: Levels, seen: ListenLook) -> bool:
        """Tell whether an overflow is over: few connections wait, and none was dropped for a hold."""
        few = min(levels.clear, int(known.listener.limit * self.settings.clear_ratio))
        rests = known.overflowed_ns < seen.begun_ns and self._is_held(known.overflowed_ns, seen)
        return known.listener.waiting <= few and rests

    def _begin(self, place: Place, known: _Known, levels: Levels, over_ns: int) -> list[Notice]:
        """Begin a warning at the instant from which on the listener is over; the hold has passed since."""
        waiting = known.listener.waiting
        episode = self._episode(known, Severity.WARNING, levels, over_ns, waiting)
        return self.episodes.begin((place, Severity.WARNING), episode)

    def _begin_overflow(self, place: Place, known: _Known, levels: Levels, seen: ListenLook) -> list[Notice]:
        """Begin a critical episode at once, with the size it had then: one more than the backlog."""
        limit = known.listener.limit
        size = max(known.listener.waiting, limit + 1)
        levels = replace(levels, threshold=limit, hold_ns=0)
        episode = self._episode(known, Severity.CRITICAL, levels, seen.ended_ns, size)
        return self.episodes.begin((place, Severity.CRITICAL), episode)

    def _episode(
        self, known: _Known, severity: Severity, levels: Levels, since_ns: int, size: int
    ) -> Episode:
        return Episode(
            socket=known.listener.socket,
            direction=Direction.ACCEPT,
            mode=Mode.POLL,
            address=0,
            since_ns=since_ns,
            ns=since_ns,
            size=size,
            peak=size,
            threshold=levels.threshold,
            levels=levels,
            condition=Condition.ACCEPT,
            severity=severity,
            facts=known.facts(severity, size),
        )

    def _update(self, episode: Episode, known: _Known, seen: ListenLook) -> None:
        waiting = known.listener.waiting
        episode.ns, episode.size = seen.ended_ns, waiting
        episode.peak = max(episode.peak, waiting)
        episode.facts = known.facts(episode.severity, waiting)

    def _end(
        self,
        place: Place,
        known: _Known,
        severities: Iterable[Severity],
        seen: ListenLook,
        size: int | None = None,
    ) -> list[Notice]:
        """End those of these episodes that are open; `size` is that of the queue now, None: as it was seen."""
        notices: list[Notice] = []
        for severity in severities:
            if severity in known.before:
                waiting = known.listener.waiting if size is None else size
                self.episodes.open[place, severity].facts = known.facts(severity, waiting)
                notices += self.episodes.end((place, severity), waiting, seen.ended_ns)
                del known.before[severity]
        return notices

    def _miss(self, place: Place, seen: ListenLook) -> list[Notice]:
        """Take note that a look does not show a listener: it is gone, or was not looked at."""
        known = self._known[place]
        if place[0] in seen.places:
            known.absent += place[0] in seen.overflows
            if known.absent < ABSENT_LOOKS:
                return []
        del self._known[place]
        return self._end(place, known, tuple(Severity), seen, size=0)
