# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The open episodes and the notices of each: `exceeded` after its hold, `ongoing` at each repeat, `cleared`.

Pure: no I/O, no clock of its own. What reports that a queue is over or back, and in what order, policy.py knows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2s
from typing import TYPE_CHECKING

from sockbpf.judge.due import Waiting
from sockbpf.judge.levels import severity_of
from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Notice
from sockbpf.record.event import Direction, Mode, Protocol, Socket
from sockbpf.record.facts import UNKNOWN, Condition, Facts, Severity
from sockbpf.record.rule import NO_RULE, Applied

if TYPE_CHECKING:
    from sockbpf.counters import Counters
    from sockbpf.judge.levels import Levels, LevelsOf
    from sockbpf.record.closeup import Closeup
    from sockbpf.record.left import Left

Identity = tuple[object, ...]
Key = tuple[object, ...]
OwnerOf = Callable[[int], tuple[int, str]]

SOON_NS, MOST_SOON = 3 * 10**9, 256
"""Those whose hold ends so soon have their owners sought too, so many at most: the next search has to wait."""

ENDED = -1
"""In place of an episode's `last_alert_ns`: the episode has ended, no `ongoing` is due."""


@dataclass(slots=True)
class Episode:
    """One queue that is over. Its `size` was read at the instant `ns`.

    `threshold` is the one that was crossed; `levels` are those that apply now, new settings replace them. `absent`
    counts the sweeps in a row that did not find the socket.
    """

    socket: Socket
    direction: Direction
    mode: Mode
    address: int
    since_ns: int
    ns: int
    size: int
    peak: int
    threshold: int
    levels: Levels
    pid: int = 0
    comm: str = ""
    id: str = ""
    condition: Condition = Condition.SIZE
    severity: Severity = Severity.WARNING
    facts: Facts = UNKNOWN
    """As they were read last."""
    crossing: Closeup | None = None
    """What else was read at the crossing, where that is known."""
    applied: Applied = NO_RULE
    """Of the rule that applied when the episode began; set by `Episodes.begin`."""
    held: bool = False
    """Whether the queue has not been over for long enough for an alert."""
    last_alert_ns: int = 0
    """The instant of the last `exceeded` or `ongoing`; 0 before the first."""
    absent: int = 0
    missed: bool = False
    """Whether the kernel's table did not hold it at the last look: its BACK event is not read yet, or lost."""

    @property
    def told_severity(self) -> Severity:
        """That of its alerts: the rule that applies can set it."""
        return severity_of(self.applied, self.condition, self.severity)

    @property
    def hold_ends_ns(self) -> int:
        """The instant at which the queue has been over for long enough for an alert."""
        return self.since_ns + self.levels.hold_ns

    @property
    def repeat_due_ns(self) -> int:
        """The instant at which the next `ongoing` is due, once there was an `exceeded`."""
        return self.last_alert_ns + self.levels.repeat_ns


def identity(socket: Socket) -> Identity:
    """Return what stays the same of a socket while its queue is over.

    A TCP orphan loses its inode, a UDP socket can be connected elsewhere; UDP sockets may share an address,
    and so may TCP listeners, which have no remote port.
    """
    if socket.inode and (socket.protocol is Protocol.UDP or not socket.remote_port):
        return (socket.netns, socket.protocol, socket.inode)
    return (
        socket.netns, socket.protocol,
        socket.local_ip, socket.local_port, socket.remote_ip, socket.remote_port,
    )  # fmt: skip


def left_key(socket: Socket, direction: Direction, severity: Severity) -> Key:
    """Return what tells apart the episodes that an earlier run left: a listener can have one of each severity."""
    return identity(socket), direction, severity if direction is Direction.ACCEPT else None


def notice_of(episode: Episode, event: str, ns: int, size: int, peak: int) -> Notice:
    """Return the notice of an episode whose queue had this size at this instant."""
    return Notice(
        event=event,
        id=episode.id,
        ns=ns,
        since_ns=episode.since_ns,
        socket=episode.socket,
        direction=episode.direction,
        mode=episode.mode,
        size=size,
        peak=max(peak, size),
        threshold=episode.threshold,
        pid=episode.pid,
        comm=episode.comm,
        condition=episode.condition,
        severity=episode.told_severity,
        facts=episode.facts,
        applied=episode.applied,
        crossing=episode.crossing if ns == episode.since_ns else None,
    )


def _go_on(episode: Episode, left: Left) -> None:
    """Make the episode the one that an earlier run told."""
    episode.id = left.id
    episode.since_ns = min(left.since_ns, episode.since_ns)
    episode.peak = max(left.peak, episode.peak, episode.size)
    if not episode.pid:
        episode.pid, episode.comm = left.pid, left.comm


class Episodes:
    """The open episodes, found by key, by queue or by id; and the instants at which their next notices are due."""

    def __init__(self, counters: Counters, salt: str, owner_of: OwnerOf) -> None:
        self.open: dict[Key, Episode] = {}
        self._counters = counters
        self._salt = salt
        self._owner_of = owner_of
        self.seek: Callable[[set[int]], None] = lambda _inodes: None
        """May be set: it is told of the inodes whose owners are asked for next, to look for all of them at once."""
        self._known: Counter[Key] = Counter()
        """(identity, direction) -> how many of its episodes are open: several while a BACK event is not read yet."""
        self._ids: set[str] = set()
        self.left: dict[Key, Left] = {}
        """By `left_key`, the episodes that an earlier run told in this boot and did not end."""
        self._held = Waiting[Episode](lambda episode, _: episode.held and not episode.missed)
        """Held episodes, by the instant at which the hold ends."""
        self._repeats = Waiting[Episode](
            lambda episode, ns: episode.last_alert_ns != ENDED and episode.repeat_due_ns == ns
        )
        """Episodes that had an `exceeded`, by the instant at which the next `ongoing` is due."""

    def is_known(self, queue: Key) -> bool:
        """Tell whether a queue, (identity, direction), has an open episode."""
        return queue in self._known

    def is_open(self, id_: str) -> bool:
        return id_ in self._ids

    def begin(self, key: Key, episode: Episode) -> list[Notice]:
        """Open an episode, and return its notice unless it is held: `ongoing` if an earlier run has told it.

        Its `size` is that of the crossing, its `peak` the highest size since.
        """
        named = f"{self._salt} {episode.since_ns} {key}"
        episode.id = blake2s(
            named.encode(), digest_size=8
        ).hexdigest()  # the key has a kernel address in it: nobody shall see it
        episode.applied = episode.levels.applied
        if left := self.left.pop(left_key(episode.socket, episode.direction, episode.told_severity), None):
            found_ns = episode.since_ns
            _go_on(episode, left)
            self._add(key, episode)
            self._repeat_later(episode, found_ns)
            return self._notice(ONGOING, episode, found_ns, episode.size, episode.peak)
        self._add(key, episode)
        if episode.levels.hold_ns:
            episode.held = True
            self._held.add(episode.hold_ends_ns, episode)
            return []
        self._repeat_later(episode, episode.since_ns)
        return self._notice(EXCEEDED, episode, episode.since_ns, episode.size, episode.size)

    def rename(self, key: Key, new: Key) -> Episode:
        """Give an open episode another key, and return the episode."""
        episode = self._remove(key)
        self._add(new, episode)
        return episode

    def end(self, key: Key, size: int, ns: int) -> list[Notice]:
        """Close an episode whose queue had this size at this instant, and return its notices."""
        episode = self._remove(key)
        episode.last_alert_ns = ENDED
        notices: list[Notice] = []
        if episode.held:
            episode.held = False
            if ns < episode.hold_ends_ns:
                self._counters.add("held_back")
                return []
            notices = self._begun(episode)
        return notices + self._notice(CLEARED, episode, ns, size, episode.peak)

    def found(self, episode: Episode) -> None:
        """Take note that the kernel's table holds the episode."""
        if episode.missed:
            episode.missed = False
            if episode.held:
                self._held.add(episode.hold_ends_ns, episode)

    def use_levels(self, levels_of: LevelsOf) -> None:
        """Give every open episode its new levels."""
        self._held.clear()
        self._repeats.clear()
        for episode in self.open.values():
            episode.levels = levels_of(episode.socket, episode.direction)
            if not episode.held:
                self._repeats.add(episode.repeat_due_ns, episode)
            elif not episode.missed:
                self._held.add(episode.hold_ends_ns, episode)

    def due(self, now_ns: int) -> list[Notice]:
        """Return the notices that are due: `exceeded` where a hold has ended, `ongoing` where a repeat is due."""
        notices: list[Notice] = []
        begun, repeated = self._held.take(now_ns), self._repeats.take(now_ns)
        if begun or repeated:
            soon = self._held.until(now_ns + SOON_NS, MOST_SOON)
            self.seek({episode.socket.inode for episode in begun + repeated + soon} - {0})
        for episode in begun:
            if episode.held:  # an episode that was missed and then found has two entries
                episode.held = False
                self._repeat_later(episode, now_ns)
                notices += self._begun(episode)
        for episode in repeated:
            self._repeat_later(episode, now_ns)
            notices += self._notice(ONGOING, episode, now_ns, episode.size, episode.peak)
        return notices

    def next_due_ns(self) -> int | None:
        """Return the instant at which the first hold ends; None if no episode is held."""
        return self._held.first_ns()

    def _add(self, key: Key, episode: Episode) -> None:
        self.open[key] = episode
        self._ids.add(episode.id)
        self._known[identity(episode.socket), episode.direction] += 1

    def _remove(self, key: Key) -> Episode:
        episode = self.open.pop(key)
        self._ids.discard(episode.id)
        known = (identity(episode.socket), episode.direction)
        self._known[known] -= 1
        if not self._known[known]:
            del self._known[known]
        return episode

    def _repeat_later(self, episode: Episode, ns: int) -> None:
        episode.last_alert_ns = ns
        self._repeats.add(episode.repeat_due_ns, episode)

    def _begun(self, episode: Episode) -> list[Notice]:
        return self._notice(EXCEEDED, episode, episode.since_ns, episode.size, episode.peak)

    def _notice(self, event: str, episode: Episode, ns: int, size: int, peak: int) -> list[Notice]:
        if event == ONGOING or not episode.pid:  # a process can hand a socket to another one
            pid, comm = self._owner_of(episode.socket.inode)
            if pid:  # else the last known owner stays: a socket that ends has none
                episode.pid, episode.comm = pid, comm
        return [notice_of(episode, event, ns, size, peak)]
