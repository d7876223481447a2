"""The rules of episodes: what of all that is seen is told, and when. Pure: no I/O, no clock of its own.

Three sources speak about the same queues: events from the hooks, the kernel's table of open episodes, and sweeps
of sock_diag. Events may be read out of order (each processor has its own ring) or be lost; the table and the
sweeps mend what was. An episode of the hooks is named by (address, direction, since_ns), one that only a sweep saw
by who the socket is; the hooks take it over at their first word of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from hashlib import blake2s
from typing import TYPE_CHECKING

from sockbpf.alert import CLEARED, EXCEEDED, ONGOING, Notice
from sockbpf.event import Direction, Event, Mode, Protocol, Socket, What

if TYPE_CHECKING:
    from sockbpf.counters import Counters

EARLY_KEPT_NS = 10 * 10**9
"""How long an end that came before its beginning is remembered; rings are read within milliseconds."""

ABSENT_LOOKS = 2
"""A socket not found in this many looks in a row is gone: a dump can skip one when its neighbours change."""

Identity = tuple[object, ...]
Key = tuple[object, ...]
Reap = Callable[[int, Direction], bool]
OwnerOf = Callable[[int], tuple[int, str]]


@dataclass(frozen=True, slots=True)
class Rules:
    """When a queue is over, back, and worth a word: bytes by direction, nanoseconds, names of events."""

    thresholds: dict[Direction, int]
    clear_ratio: float
    repeat_ns: int
    events: frozenset[str]

    def clear_level(self, direction: Direction) -> int:
        """Return the size, bytes, at or under which an episode ends."""
        return int(self.thresholds[direction] * self.clear_ratio)


@dataclass(frozen=True, slots=True)
class Reading:
    """What a sweep read of one socket, bytes by direction; `unsure` bytes to receive may be there no more."""

    socket: Socket
    sizes: dict[Direction, int]
    unsure: int = 0

    def surely(self, direction: Direction) -> int:
        """Return the bytes that are certainly in the queue: to begin an episode with they must be over."""
        return self.sizes[direction] - (self.unsure if direction is Direction.RECV else 0)


@dataclass(frozen=True, slots=True)
class Sweep:
    """A look at all sockets of some network namespaces, taken between two instants of CLOCK_MONOTONIC.

    `looked` says at which: inode number and protocol. Sockets with empty queues may be left out, but for those that
    were asked for by inode.
    """

    begun_ns: int
    ended_ns: int
    looked: frozenset[tuple[int, Protocol]]
    not_found: frozenset[int]
    """Namespaces that were asked for and no process is in: removed, or held by a socket alone."""
    readings: tuple[Reading, ...]


@dataclass(slots=True)
class Episode:
    """One queue that is over. `ns` is the instant of `size`; `absent` counts the looks that did not find it."""

    socket: Socket
    direction: Direction
    mode: Mode
    address: int
    since_ns: int
    ns: int
    size: int
    peak: int
    threshold: int
    pid: int = 0
    comm: str = ""
    id: str = ""
    told_ns: int = 0
    absent: int = 0


def identity(socket: Socket) -> Identity:
    """Return what stays the same of a socket while its queue is over.

    A TCP orphan loses its inode, a UDP socket can be connected elsewhere; UDP sockets may share an address.
    """
    if socket.protocol is Protocol.UDP and socket.inode:
        return (socket.netns, socket.protocol, socket.inode)
    return (
        socket.netns, socket.protocol,
        socket.local_ip, socket.local_port, socket.remote_ip, socket.remote_port,
    )  # fmt: skip


def _key(event: Event) -> Key:
    return (event.address, event.direction, event.since_ns)


@dataclass(slots=True)
class Policy:
    """The open episodes and what is to be told of them."""

    rules: Rules
    counters: Counters
    salt: str
    """What tells this run of the monitor from all others, for the episodes' ids."""
    owner_of: OwnerOf
    """From a socket's inode to pid and comm of who holds it now; (0, "") where it is not known."""
    open: dict[Key, Episode] = field(default_factory=dict)
    _known: dict[Key, set[Key]] = field(default_factory=dict)
    """(identity, direction) -> keys of its open episodes: several while an end is on the way."""
    _early: dict[Key, int] = field(default_factory=dict)
    """Key of an episode whose end was read before its beginning -> when."""
    _unheard: set[Key] = field(default_factory=set)
    """Open episodes that the kernel's table told of first: their beginning is on the way, or lost."""
    _missing: set[Key] = field(default_factory=set)
    """Open episodes of the hooks that the kernel's table did not hold at the last look."""
    _ended: set[Key] | None = None
    """(identity, direction) of what ended since a sweep was sent for; None while none is under way."""

    # what the hooks say

    def on_event(self, event: Event) -> list[Notice]:
        """Take one event of the hooks, in any order."""
        return self._over(event) if event.what is What.OVER else self._back(event)

    def _over(self, event: Event) -> list[Notice]:
        key = _key(event)
        self._unheard.discard(key)
        if key in self.open or self._early.pop(key, None) is not None:
            return []
        swept = (identity(event.socket), event.direction)
        if swept in self.open:
            episode = self._remove(swept)
            episode.address = event.address
            if event.pid:
                episode.pid, episode.comm = event.pid, event.comm
            self._add(key, episode)
            return []
        return self._begin(key, _episode(event), event.since_size, event.since_ns)

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
        return notices + self._end(key, event.size, event.ns)

    def on_table(self, entries: list[Event]) -> list[Notice]:
        """Take the kernel's table of open episodes: latest sizes and peaks, and what was lost on the way."""
        notices: list[Notice] = []
        self.counters.add("recovered", len(self._unheard))  # not heard of since the last look: lost
        self._unheard.clear()
        keys = set()
        for entry in entries:
            key = _key(entry)
            keys.add(key)
            if key not in self.open:
                notices += self._over(entry)
                self._unheard.add(key)
            episode = self.open[key]
            episode.ns, episode.size = entry.ns, entry.size
            episode.peak = max(episode.peak, entry.peak)
        missing = {key for key, episode in self.open.items() if episode.address and key not in keys}
        for key in missing & self._missing:  # twice in a row: its end is not on the way, it is lost
            self.counters.add("recovered")
            notices += self._end(key, 0, self.open[key].ns)
        self._missing = missing - self._missing
        return notices

    # what the sweeps say

    def sweep_begins(self) -> None:
        """Tell that a sweep is under way: what ends meanwhile may still stand in it."""
        self._ended = set()

    def on_sweep(self, sweep: Sweep, reap: Reap) -> list[Notice]:
        """Take a sweep; the table must have been taken since it ended.

        `reap` deletes an episode in the kernel's table, and says whether it was still there.
        """
        ended, self._ended = self._ended or set(), None
        readings = {identity(reading.socket): reading for reading in sweep.readings}
        notices: list[Notice] = []
        for key, episode in list(self.open.items()):
            if self._was_looked_at(episode.socket, sweep):
                reading = readings.get(identity(episode.socket))
                notices += self._look(key, episode, reading, sweep, reap)
        for name, reading in readings.items():
            for direction, size in reading.sizes.items():
                known = (name, direction)
                if (
                    reading.surely(direction) > self.rules.thresholds[direction]
                    and known not in self._known
                    and known not in ended
                ):
                    self.counters.add("begun_by_sweep")
                    notices += self._begin(
                        known, self._swept(reading, direction, sweep), size, sweep.begun_ns
                    )
        return notices

    def _was_looked_at(self, socket: Socket, sweep: Sweep) -> bool:
        """Whether a sweep that does not show the socket says that it is gone."""
        if socket.netns in sweep.not_found:
            return not self.owner_of(socket.inode)[0]
        return (socket.netns, socket.protocol) in sweep.looked

    def _look(
        self, key: Key, episode: Episode, reading: Reading | None, sweep: Sweep, reap: Reap
    ) -> list[Notice]:
        size = reading.sizes[episode.direction] if reading else 0
        surely = reading.surely(episode.direction) if reading else 0
        episode.absent = 0 if reading else episode.absent + 1
        if reading and not episode.socket.inode:
            episode.socket = reading.socket  # it went over before its listener's owner accepted it
        if episode.ns > sweep.begun_ns:  # the hooks know better
            return []
        held = size if episode.address else surely  # what the hooks began may be over by what is unsure
        if held > self.rules.clear_level(episode.direction) or 0 < episode.absent < ABSENT_LOOKS:
            if not episode.address and reading:
                episode.ns, episode.size = sweep.ended_ns, size
                episode.peak = max(episode.peak, size)
            return []
        if episode.address and not reap(episode.address, episode.direction):
            return []  # the kernel side was first, its word is on the way
        self.counters.add("ended_by_sweep")
        return self._end(key, held, sweep.ended_ns)

    def _swept(self, reading: Reading, direction: Direction, sweep: Sweep) -> Episode:
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
            threshold=self.rules.thresholds[direction],
        )

    # time

    def on_time(self, now_ns: int) -> list[Notice]:
        """Return what is to be repeated now, at most once per repeat interval for each episode."""
        self._early = {key: ns for key, ns in self._early.items() if now_ns - ns < EARLY_KEPT_NS}
        notices = []
        for episode in self.open.values():
            if now_ns - episode.told_ns >= self.rules.repeat_ns:
                episode.told_ns = now_ns
                notices += self._notice(ONGOING, episode, episode.size, now_ns)
        return notices

    # keeping the books

    def _add(self, key: Key, episode: Episode) -> None:
        self.open[key] = episode
        self._known.setdefault((identity(episode.socket), episode.direction), set()).add(key)

    def _remove(self, key: Key) -> Episode:
        episode = self.open.pop(key)
        known = (identity(episode.socket), episode.direction)
        self._known[known].discard(key)
        if not self._known[known]:
            del self._known[known]
        return episode

    def _begin(self, key: Key, episode: Episode, size: int, ns: int) -> list[Notice]:
        episode.told_ns = ns
        named = f"{self.salt} {episode.since_ns} {key}"
        episode.id = blake2s(named.encode(), digest_size=8).hexdigest()  # tells no kernel address
        self._add(key, episode)
        return self._notice(EXCEEDED, episode, size, ns)

    def _end(self, key: Key, size: int, ns: int) -> list[Notice]:
        episode = self._remove(key)
        if self._ended is not None:
            self._ended.add((identity(episode.socket), episode.direction))
        return self._notice(CLEARED, episode, size, ns)

    def _notice(self, event: str, episode: Episode, size: int, ns: int) -> list[Notice]:
        if event not in self.rules.events:
            return []
        if event == ONGOING or not episode.pid:  # a socket can be handed on
            pid, comm = self.owner_of(episode.socket.inode)
            if pid:  # else what was known before: a socket that ends is nobody's
                episode.pid, episode.comm = pid, comm
        return [
            Notice(
                event=event,
                id=episode.id,
                ns=ns,
                since_ns=episode.since_ns,
                socket=episode.socket,
                direction=episode.direction,
                mode=episode.mode,
                size=size,
                peak=max(episode.peak, size) if event != EXCEEDED else size,
                threshold=episode.threshold,
                pid=episode.pid,
                comm=episode.comm,
            )
        ]


def _episode(event: Event) -> Episode:
    return Episode(
        socket=event.socket,
        direction=event.direction,
        mode=event.mode,
        address=event.address,
        since_ns=event.since_ns,
        ns=event.ns,
        size=event.size,
        peak=event.peak,
        threshold=event.threshold,
        pid=event.pid,
        comm=event.comm,
    )
