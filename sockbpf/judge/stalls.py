# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Stalled queues: those that hold something and that nothing has left for a while, whatever their size.

Pure: no I/O, no clock of its own. Sweeps show of each queue a number that changes when something leaves it. A queue
is stalled once all looks of a whole `after` have shown it with more than `above` bytes and with the same number.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sockbpf.judge.episodes import Episode, Episodes, identity, left_key
from sockbpf.judge.levels import Levels
from sockbpf.judge.looked import ABSENT_LOOKS, was_looked_at
from sockbpf.judge.own_episodes import OwnEpisodes
from sockbpf.record.event import Direction, Mode, Protocol
from sockbpf.record.facts import Condition, Severity

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.counters import Counters
    from sockbpf.judge.episodes import Key, OwnerOf
    from sockbpf.record.alert import Notice
    from sockbpf.record.event import Socket
    from sockbpf.record.rule import StallSettings
    from sockbpf.record.sweep import Reading, Sweep

MOST = 32_768
"""So many queues are watched at once; further ones are counted."""

KEPT_NS = 600 * 10**9
"""So long a queue is remembered that no look was taken at: its network namespace could not be entered, or is gone."""

FRESH_NS = 3 * 10**9
"""A look that was taken so long ago says nothing of now; what is over is looked at each second."""

SYN_SENT, FIN_WAIT_1, CLOSE_WAIT, LAST_ACK, CLOSING = 2, 4, 8, 9, 11
FIN_IN = {
    Direction.SEND: frozenset({FIN_WAIT_1, LAST_ACK, CLOSING}),
    Direction.RECV: frozenset({CLOSE_WAIT, LAST_ACK, CLOSING}),
}
"""The TCP states in which the last byte of a queue that is not empty is no byte but the end of the stream (FIN)."""


@dataclass(slots=True)
class _Standing:
    """A queue that holds more than `above`: nothing has left it since `since_ns`, as far as looks have shown.

    `mark` is the number that changes when something leaves it, `after_ns` how long it may stand still.
    """

    place: tuple[int, Protocol]
    mark: int
    after_ns: int
    since_ns: int
    seen_ns: int
    absent: int = 0


class Stalls(OwnEpisodes):
    """Makes notices of what sweeps show of queues that stand still."""

    def __init__(
        self,
        settings_of: Callable[[Socket, Direction], StallSettings],
        counters: Counters,
        salt: str,
        owner_of: OwnerOf,
        may_be_held: Callable[[int, int], bool],
    ) -> None:
        """Begin with no open episode; the arguments are those of `Policy`."""
        self.settings_of = settings_of
        """May be changed at any time: the next sweep is judged by it. An open episode keeps its threshold."""
        self.episodes = Episodes(counters, f"stalled {salt}", owner_of)
        self._counters = counters
        self._may_be_held = may_be_held
        self._standing: dict[Key, _Standing] = {}
        """By (identity, direction), which is the key of its episode too; those with an open episode included."""

    def on_sweep(self, sweep: Sweep) -> list[Notice]:
        """Take a sweep that has ended, and return the notices of episodes that end; `on_time` begins them."""
        notices: list[Notice] = []
        seen: set[Key] = set()
        for reading in sweep.readings:
            for direction in Direction:
                if direction in reading.sizes:
                    key: Key = (identity(reading.socket), direction)
                    seen.add(key)
                    notices += self._look(key, reading, direction, sweep)
        for key in self._standing.keys() - seen:
            notices += self._miss(key, sweep)
        return notices

    def _look(self, key: Key, reading: Reading, direction: Direction, sweep: Sweep) -> list[Notice]:
        standing, mark = self._standing.get(key), reading.left.get(direction)
        size, held = reading.sizes[direction], _held(reading, direction)
        if not held and standing is None:
            return []
        settings = self.settings_of(reading.socket, direction)
        if not settings.after_ns or held <= settings.above:
            return self._forget(key, size, sweep.ended_ns)
        if standing is None:
            if mark is None:
                return []
            self._watch(key, reading.socket, mark, settings.after_ns, sweep)
            return self._take_up(key, reading, direction, sweep, settings)
        standing.absent, standing.seen_ns, standing.after_ns = 0, sweep.ended_ns, settings.after_ns
        # A size that falls proves nothing: a datagram counts until it is dropped.
        if mark is not None and mark != standing.mark:
            notices = self._forget(key, size, sweep.ended_ns)
            self._watch(key, reading.socket, mark, settings.after_ns, sweep)
            return notices
        if key in self.episodes.open:
            self._update(self.episodes.open[key], reading, sweep)
        elif sweep.begun_ns - standing.since_ns >= settings.after_ns:
            self.episodes.begin(key, _episode(reading, direction, standing.since_ns, sweep, settings))
        return []

    def _watch(self, key: Key, socket: Socket, mark: int, after_ns: int, sweep: Sweep) -> None:
        """Watch a queue from this sweep on: it was read before the sweep's end, so nothing has left it since then."""
        if len(self._standing) >= MOST:
            self._counters.add("stalls_full")
            return
        place = (socket.netns, socket.protocol)
        self._standing[key] = _Standing(place, mark, after_ns, sweep.ended_ns, sweep.ended_ns)

    def _take_up(
        self, key: Key, reading: Reading, direction: Direction, sweep: Sweep, settings: StallSettings
    ) -> list[Notice]:
        """Go on with the episode of an earlier run, if there is one: until a look shows that something has left."""
        left = left_key(reading.socket, direction, Severity.WARNING)
        if left not in self.episodes.left or key not in self._standing:
            return []
        return self.episodes.begin(key, _episode(reading, direction, sweep.ended_ns, sweep, settings))

    def _update(self, episode: Episode, reading: Reading, sweep: Sweep) -> None:
        direction = episode.direction
        episode.ns, episode.size = sweep.ended_ns, reading.sizes[direction]
        episode.peak = max(episode.peak, episode.size)
        episode.facts = reading.facts_of(direction)
        if not episode.socket.inode:
            episode.socket = reading.socket  # the connection has been accepted meanwhile

    def _miss(self, key: Key, sweep: Sweep) -> list[Notice]:
        """Take note that a sweep does not show a queue: it is at or under `above`, gone, or was not looked at."""
        standing = self._standing[key]
        episode = self.episodes.open.get(key)
        if episode and not was_looked_at(episode, sweep, self._may_be_held):
            return []
        if not episode and standing.place not in sweep.looked:
            if standing.place[0] not in sweep.not_found and sweep.begun_ns - standing.seen_ns < KEPT_NS:
                return []
            return self._forget(key, 0, sweep.ended_ns)
        standing.absent += 1
        return self._forget(key, 0, sweep.ended_ns) if standing.absent >= ABSENT_LOOKS else []

    def _forget(self, key: Key, size: int, ns: int) -> list[Notice]:
        self._standing.pop(key, None)
        return self.episodes.end(key, size, ns) if key in self.episodes.open else []

    def stood_still_ns(self, socket: Socket, direction: Direction, now_ns: int) -> int:
        """Return for how long looks have shown that nothing has left a queue, up to one that was taken just now."""
        standing = self._standing.get((identity(socket), direction))
        if standing is None or standing.absent or now_ns - standing.seen_ns > FRESH_NS:
            return 0
        return standing.seen_ns - standing.since_ns

    # as a judge, and for the schedule of sweeps

    @property
    def open(self) -> dict[Key, Episode]:
        """The open episodes."""
        return self.episodes.open

    def look_due_ns(self, now_ns: int) -> int | None:
        """Return the first instant after now at which a look may find a queue stalled; None if none is watched."""
        due = (
            standing.since_ns + standing.after_ns
            for key, standing in self._standing.items()
            if not standing.absent and key not in self.episodes.open
        )
        return min((ns for ns in due if ns > now_ns), default=None)


def _held(reading: Reading, direction: Direction) -> int:
    """Return how many bytes are certainly there to leave the queue."""
    state = reading.facts_of(direction).state
    if state == SYN_SENT:  # what counts one is no byte yet
        return 0
    size = reading.surely(direction)
    return size - 1 if size > 0 and state in FIN_IN[direction] else size


def _episode(
    reading: Reading, direction: Direction, since_ns: int, sweep: Sweep, settings: StallSettings
) -> Episode:
    """Return the episode: `after` is its hold, so that its alert has the instant from which it stands still."""
    size = reading.sizes[direction]
    return Episode(
        socket=reading.socket,
        direction=direction,
        mode=Mode.POLL,
        address=0,
        since_ns=since_ns,
        ns=sweep.ended_ns,
        size=size,
        peak=size,
        threshold=settings.above,
        levels=Levels(settings.above, settings.above, settings.after_ns, settings.repeat_ns),
        condition=Condition.STALLED,
        facts=reading.facts_of(direction),
    )
