# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The rules of episodes: what begins one, what ends it. Pure: no I/O, no clock of its own.

Three sources report on the same queues: events from the hooks, the kernel's table of open episodes, and sweeps
of sock_diag. Events may be read out of order (each processor has its own ring) or be lost; the table and the
sweeps replace a lost one. The key of an episode of the hooks is (address, direction, since_ns), that of one which
only a sweep saw is (identity, direction), until an event of the hooks takes it over. When an open episode gives a
notice, episodes.py decides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import takewhile
from typing import TYPE_CHECKING

from sockbpf.judge.episodes import Episode, Episodes, Key, OwnerOf, identity
from sockbpf.judge.looked import ABSENT_LOOKS, was_looked_at
from sockbpf.record.event import Direction, Event, Mode, What

if TYPE_CHECKING:
    from sockbpf.counters import Counters
    from sockbpf.judge.levels import Levels, LevelsOf
    from sockbpf.record.alert import Notice
    from sockbpf.record.sweep import Reading, Sweep

__all__ = ["Episode", "Policy", "identity"]

EARLY_KEPT_NS = 10 * 10**9
"""How long a BACK event that was read before its OVER is remembered; rings are read within milliseconds."""

Reap = Callable[[int, Direction], bool]


def _key(event: Event) -> Key:
    return (event.address, event.direction, event.since_ns)


class Policy:
    """Makes notices of what the three sources report."""

    def __init__(
        self,
        levels_of: LevelsOf,
        counters: Counters,
        salt: str,
        owner_of: OwnerOf,
        may_be_held: Callable[[int, int], bool] | None = None,
    ) -> None:
        """Begin with no open episode.

        `levels_of` returns the levels of a queue's episode, which keeps them until `use_levels`. `salt` makes the ids
        of this run's episodes differ from those of other runs; `owner_of` returns pid and comm of the process that
        holds the socket of this inode now; (0, "") where it is not known. `may_be_held` returns False if certainly no
        process holds the socket of this inode, which was there at an instant; without it, a socket whose owner is not
        known is not held.
        """
        self.episodes = Episodes(counters, salt, owner_of)
        self._levels_of = levels_of
        self.levels_of_event: Callable[[Event], Levels] = self._levels_of_its_queue
        """Returns the levels of the episode that an event of the hooks begins."""
        self.owner_of = owner_of
        self.may_be_held = may_be_held or (lambda inode, _: bool(owner_of(inode)[0]))
        self.counters = counters
        self._early: dict[Key, int] = {}
        """Key of an episode whose BACK event was read before its OVER -> the instant of the BACK."""
        self._unheard: set[Key] = set()
        """Open episodes that the kernel's table showed first: their OVER event is not read yet, or lost."""
        self._ended: set[Key] | None = None
        """(identity, direction) of the episodes that ended since a sweep began; None while no sweep is under way."""

    def use_levels(self, levels_of: LevelsOf) -> None:
        """Use other levels from now on; the kernel side must have its new levels already.

        An open episode keeps the threshold that it crossed; it ends at its new clear level, and if it is held it
        waits as long as its new hold says. A queue that is over or back by the new thresholds is found by the next
        sweep, or by the next event of the hooks.
        """
        self._levels_of = levels_of
        self.episodes.use_levels(levels_of)

    @property
    def open(self) -> dict[Key, Episode]:
        """The open episodes, held ones included."""
        return self.episodes.open

    def is_open(self, id_: str) -> bool:
        """Tell whether the episode with this id is open."""
        return self.episodes.is_open(id_)

    # from the hooks: events and the kernel's table

    def on_event(self, event: Event) -> list[Notice]:
        """Take one event of the hooks, in any order, and return the notices."""
        return self._over(event) if event.what is What.OVER else self._back(event)

    def _over(self, event: Event) -> list[Notice]:
        key = _key(event)
        self._unheard.discard(key)
        if key in self.open or self._early.pop(key, None) is not None:
            return []
        swept = (identity(event.socket), event.direction)
        if swept in self.open:
            self._take_over(swept, key, event)
            return []
        return self.episodes.begin(key, _episode(event, self.levels_of_event(event)))

    def _levels_of_its_queue(self, event: Event) -> Levels:
        return self._levels_of(event.socket, event.direction)

    def _take_over(self, swept: Key, key: Key, event: Event) -> None:
        """Make an episode that a sweep began one of the hooks'; it keeps its id, its beginning and its hold."""
        episode = self.episodes.rename(swept, key)
        episode.address = event.address
        episode.peak = max(episode.peak, event.since_size)
        if event.since_ns > episode.ns:
            episode.ns, episode.size, episode.facts = event.since_ns, event.since_size, event.facts
        if event.pid:
            episode.pid, episode.comm = event.pid, event.comm

    def _back(self, event: Event) -> list[Notice]:
        key = _key(event)
        notices: list[Notice] = []
        if key not in self.open:
            notices = self._over(event)
            self._unheard.add(key)
        if key in self._unheard:
            self._unheard.discard(key)
            self._early[key] = event.ns
        episode = self.open[key]
        episode.peak = max(episode.peak, event.peak)
        episode.facts = event.facts
        return notices + self._end(key, event.size, event.ns)

    def on_table(self, entries: list[Event]) -> list[Notice]:
        """Take the kernel's table of open episodes: latest sizes and peaks, and episodes whose events were lost."""
        notices: list[Notice] = []
        self.counters.add("recovered", len(self._unheard))  # no OVER event since the last look: lost
        self._unheard.clear()
        keys = set()
        for entry in entries:
            key = _key(entry)
            keys.add(key)
            if key not in self.open:
                notices += self._over(entry)
                self._unheard.add(key)
            episode = self.open[key]
            if entry.ns >= episode.ns:  # else a sweep has read the size since
                episode.ns, episode.size, episode.facts = entry.ns, entry.size, entry.facts
            episode.peak = max(episode.peak, entry.peak)
        for key, episode in list(self.open.items()):
            if key in keys:
                self.episodes.found(episode)
            elif episode.missed:  # not in the table twice in a row: its BACK event is lost
                self.counters.add("recovered")
                notices += self._end(key, 0, episode.ns)
            elif episode.address:
                episode.missed = True
        return notices

    # from the sweeps

    def sweep_begins(self) -> None:
        """Take note that a sweep is under way: it may still show a queue as over whose episode ends meanwhile."""
        self._ended = set()

    def on_sweep(self, sweep: Sweep, reap: Reap) -> list[Notice]:
        """Take a sweep that has ended, and return the notices; the table must have been taken since its end.

        `reap` deletes an episode in the kernel's table, and returns whether it was still there.
        """
        ended, self._ended = self._ended or set(), None
        readings = {identity(reading.socket): reading for reading in sweep.readings}
        notices: list[Notice] = []
        for key, episode in list(self.open.items()):
            if was_looked_at(episode, sweep, self.may_be_held):
                reading = readings.get(identity(episode.socket))
                notices += self._look(key, episode, reading, sweep, reap)
        for name, reading in readings.items():
            for direction in reading.sizes:
                known = (name, direction)
                levels = self._levels_of(reading.socket, direction)
                if (
                    levels.is_over(reading.surely(direction), reading.facts_of(direction))
                    and not self.episodes.is_known(known)
                    and known not in ended
                ):
                    self.counters.add("begun_by_sweep")
                    notices += self.episodes.begin(known, _swept(reading, direction, sweep, levels))
        return notices

    def _look(
        self, key: Key, episode: Episode, reading: Reading | None, sweep: Sweep, reap: Reap
    ) -> list[Notice]:
        size = reading.sizes[episode.direction] if reading else 0
        surely = reading.surely(episode.direction) if reading else 0
        episode.absent = 0 if reading else episode.absent + 1
        if reading:
            known = episode.facts
            episode.facts = replace(
                reading.facts_of(episode.direction), drops=known.drops, drops_before=known.drops_before
            )
        if reading and not episode.socket.inode:
            episode.socket = reading.socket  # the queue went over before the connection was accepted
        if episode.ns > sweep.begun_ns:  # the hooks have seen the queue since the sweep began
            return []
        held = size if episode.address else surely  # the hooks compare with the unsure bytes too
        is_back = not reading or episode.levels.is_back(held, episode.facts)
        if not is_back or 0 < episode.absent < ABSENT_LOOKS:
            # Where two processors wrote of one queue, the table may keep the older size.
            if reading and (not episode.address or size == surely):
                episode.ns, episode.size = sweep.ended_ns, size
                episode.peak = max(episode.peak, size)
            return []
        if episode.address and not reap(episode.address, episode.direction):
            return []  # the kernel side was first, its BACK event is not read yet
        self.counters.add("ended_by_sweep")
        return self._end(key, held, sweep.ended_ns)

    # time

    def on_time(self, now_ns: int) -> list[Notice]:
        """Return the notices that are due by now: of holds that have ended, of repeats.

        All events up to `now_ns` must have been read: an episode that ended during its hold gives no notice.
        """
        late = takewhile(lambda early: now_ns - early[1] >= EARLY_KEPT_NS, self._early.items())
        for key, _ in list(late):
            del self._early[key]
        return self.episodes.due(now_ns)

    def next_due_ns(self) -> int | None:
        """Return the instant at which the first hold ends, CLOCK_MONOTONIC; None if no episode is held.

        Repeats need no precision: for them `on_time` once a second is enough.
        """
        return self.episodes.next_due_ns()

    def _end(self, key: Key, size: int, ns: int) -> list[Notice]:
        episode = self.open[key]
        if self._ended is not None:
            self._ended.add((identity(episode.socket), episode.direction))
        return self.episodes.end(key, size, ns)


def _swept(reading: Reading, direction: Direction, sweep: Sweep, levels: Levels) -> Episode:
    size = reading.sizes[direction]
    return Episode(
        socket=reading.socket,
        direction=direction,
        mode=Mode.POLL,
        address=0,
        since_ns=sweep.begun_ns,
        ns=sweep.begun_ns,
        size=size,
        peak=size,
        threshold=levels.in_bytes(reading.facts_of(direction)),
        levels=levels,
        condition=levels.condition,
        facts=reading.facts_of(direction),
    )


def _episode(event: Event, levels: Levels) -> Episode:
    """Return the episode as it was at the crossing, but for its peak."""
    return Episode(
        socket=event.socket,
        direction=event.direction,
        mode=event.mode,
        address=event.address,
        since_ns=event.since_ns,
        ns=event.since_ns,
        size=event.since_size,
        peak=event.peak,
        threshold=event.threshold,
        levels=levels,
        pid=event.pid,
        comm=event.comm,
        condition=event.condition,
        facts=event.facts,
        crossing=event.crossing,
    )
