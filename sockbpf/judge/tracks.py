# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Sockets followed from look to look: since when a queue stands still, how it grew, what ended. Pure: no clock."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sockbpf.judge.ranking import is_over, nearness
from sockbpf.record.facts import Severity
from sockbpf.record.moment import ends_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sockbpf.record.event import Direction, Socket
    from sockbpf.record.facts import Facts
    from sockbpf.record.moment import Ends, Moment, OpenEpisode
    from sockbpf.record.socket_row import SocketRow

ENDED_S = 10.0
"""So long a socket stays on the screen after it was seen last."""
POINTS = 120
"""A history has fewer points than that."""
WITH_HISTORY = 200
"""So many sockets have a history: the first in the order, and the chosen one."""
STEADY = 0.25
"""A value that changes by a smaller part than this does not move its row."""
STEADY_PERCENT = 1.0
"""Nor does a fill that changes by fewer percent of the buffer."""


@dataclass(slots=True)
class History:
    """The sizes of one queue in this session. The longer it is, the coarser."""

    points: list[tuple[float, int]] = field(default_factory=list)
    """When, and how much it held."""
    each_s: float = 0.0

    def add(self, at_s: float, size: int) -> None:
        """Take a point, unless the last one is too near; where there is no room, every second point goes."""
        if self.points and at_s - self.points[-1][0] < self.each_s:
            return
        self.points.append((at_s, size))
        if len(self.points) >= POINTS:
            self.points = self.points[::2]
            self.each_s = (self.points[-1][0] - self.points[0][0]) / (len(self.points) - 1)


@dataclass(slots=True)
class Track:
    """One socket as the last look saw it, and what the looks before say of it."""

    row: SocketRow
    seen_s: float
    moved_s: dict[Direction, float]
    """When something was last seen to leave each queue that holds something; at first when it was seen first."""
    weight: float = 0.0
    """What it is sorted by among those that are over, or those that are not: it follows the row in steps."""
    episodes: tuple[OpenEpisode, ...] = ()
    is_over: bool = False
    has_ended: bool = False
    history: dict[Direction, History] = field(default_factory=dict)

    def still_s(self, now_s: float) -> float | None:
        """Return for how long nothing has left one of the queues; None if nothing can be said of any."""
        since = [at for direction, at in self.moved_s.items() if direction in self.row.left]
        return None if not since or self.has_ended else max(now_s - min(since), 0.0)


class Tracks:
    """All sockets that the looks of this session saw lately. `take` each look in turn."""

    def __init__(self) -> None:
        self.by_socket: dict[Socket, Track] = {}
        self.now_s = 0.0
        self.now_unix_s = 0.0

    def take(self, moment: Moment) -> None:
        """Go on with what a look saw. What the monitor says is over is over; without one the thresholds say it."""
        self.now_s, self.now_unix_s = moment.at_s, moment.unix_s
        told = None if moment.told is None else _by_ends(moment.told.episodes)
        for row in moment.rows:
            known = self.by_socket.get(row.socket)
            track = known or self.by_socket.setdefault(row.socket, Track(row, self.now_s, {}))
            was_over = track.is_over
            _renew(track, row, self.now_s)
            track.episodes = () if told is None else told.get(ends_of(row), ())
            track.is_over = is_over(row) if told is None else bool(track.episodes)
            weight = weight_of(row, is_told=told is not None)
            is_alike = known and was_over == track.is_over  # else the weights say different things
            least = 0.0 if track.is_over and told is None else STEADY_PERCENT
            track.weight = steady(track.weight, weight, least) if is_alike else weight
        for socket, track in list(self.by_socket.items()):
            track.has_ended = track.seen_s < self.now_s
            is_elsewhere = track.has_ended and socket.inode in moment.rest.inodes
            if is_elsewhere or track.seen_s < self.now_s - ENDED_S:
                del self.by_socket[socket]

    def in_order(self, chosen: Socket | None = None) -> list[Track]:
        """Return all, what is over first: critical, then by how far; then the fullest. Small changes move no row.

        The first of them and the chosen one go on with their history.
        """
        tracks = sorted(self.by_socket.values(), key=_rank)
        for place, track in enumerate(tracks):
            if place < WITH_HISTORY or track.row.socket == chosen:
                _remember(track, self.now_s)
            else:
                track.history.clear()
        return tracks


def size_of(row: SocketRow) -> int:
    """Return how much stands in all queues of a socket."""
    return sum(queue.size for queue in row.queues.values())


def weight_of(row: SocketRow, *, is_told: bool) -> float:
    """Return by what a socket is sorted: how far its worst queue is over; else how full it is, in percent."""
    if is_over(row) and not is_told:
        return max(nearness(queue) for queue in row.queues.values() if queue.is_over)
    return max((_filled(queue.facts) for queue in row.queues.values() if queue.size), default=0.0)


def _filled(facts: Facts) -> float:
    return 100 * facts.charged / facts.limit if facts.limit else 0.0


def steady(before: float, after: float, least: float = 0.0) -> float:
    """Return the value to sort by: the one before, as long as the new one differs little, or by less than `least`."""
    return before if abs(after - before) <= max(STEADY * before, least) else after


def _renew(track: Track, row: SocketRow, now_s: float) -> None:
    for direction, queue in row.queues.items():
        had, left = track.row.left.get(direction), row.left.get(direction)
        if not queue.size:
            track.moved_s.pop(direction, None)
        elif direction not in track.moved_s or left != had:
            track.moved_s[direction] = now_s
    track.row, track.seen_s = row, now_s


def _remember(track: Track, now_s: float) -> None:
    if not track.has_ended:
        for direction, queue in track.row.queues.items():
            track.history.setdefault(direction, History()).add(now_s, queue.size)


def _by_ends(episodes: Iterable[OpenEpisode]) -> dict[Ends, tuple[OpenEpisode, ...]]:
    found: dict[Ends, tuple[OpenEpisode, ...]] = {}
    for each in episodes:
        if each.ends is not None:
            found[each.ends] = (*found.get(each.ends, ()), each)
    return found


def _rank(track: Track) -> tuple[bool, bool, float, tuple[int, str, int, str, int, int]]:
    socket = track.row.socket
    ends = (socket.local_ip, socket.local_port, socket.remote_ip, socket.remote_port)
    is_critical = any(episode.severity == Severity.CRITICAL.value for episode in track.episodes)
    return (not track.is_over, not is_critical, -track.weight, (socket.protocol, *ends, socket.netns))


def counters_over(moment: Moment) -> Iterator[OpenEpisode]:
    """Yield what is over and is no socket's."""
    return (each for each in (moment.told.episodes if moment.told else ()) if each.ends is None)
