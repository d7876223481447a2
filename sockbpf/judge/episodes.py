# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The open episodes and what is told of each, when: held at first, then told, repeated, ended.

Pure: no I/O, no clock of its own. Who says that a queue is over or back, and in what order, is policy.py's business.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2s
from typing import TYPE_CHECKING

from sockbpf.judge.due import Waiting
from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Notice
from sockbpf.record.event import Direction, Mode, Protocol, Socket

if TYPE_CHECKING:
    from sockbpf.counters import Counters
    from sockbpf.judge.levels import Levels, LevelsOf

Identity = tuple[object, ...]
Key = tuple[object, ...]
OwnerOf = Callable[[int], tuple[int, str]]

ENDED = -1
"""In place of the instant at which an episode was last told: never again."""


@dataclass(slots=True)
class Episode:
    """One queue that is over. `ns` is the instant of `size`; `absent` counts the looks that did not find it.

    `threshold` is the one that was crossed; `levels`, what it goes by now, can be others later.
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
    held: bool = False
    """It has not been over for long enough to be told."""
    last_alert_ns: int = 0
    absent: int = 0
    missed: bool = False
    """The kernel's table did not hold it at the last look: its end is on the way, or lost."""

    @property
    def hold_ends_ns(self) -> int:
        """When it will have been over for long enough to be told."""
        return self.since_ns + self.levels.hold_ns

    @property
    def repeat_due_ns(self) -> int:
        """When it is to be told again, once it was told."""
        return self.last_alert_ns + self.levels.repeat_ns


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


class Episodes:
    """The books of what is open: by key, by whose queue it is, by id; and what of it waits to be told."""

    def __init__(self, counters: Counters, salt: str, owner_of: OwnerOf) -> None:
        self.open: dict[Key, Episode] = {}
        self._counters = counters
        self._salt = salt
        self._owner_of = owner_of
        self._known: Counter[Key] = Counter()
        """(identity, direction) -> how many of its episodes are open: several while an end is on the way."""
        self._ids: set[str] = set()
        self._held = Waiting[Episode](lambda episode, _: episode.held and not episode.missed)
        """By when their hold ends."""
        self._repeats = Waiting[Episode](
            lambda episode, ns: episode.last_alert_ns != ENDED and episode.repeat_due_ns == ns
        )
        """By when they are to be told again."""

    def is_known(self, queue: Key) -> bool:
        """Tell whether a queue, (identity, direction), has an open episode."""
        return queue in self._known

    def is_open(self, id_: str) -> bool:
        return id_ in self._ids

    def begin(self, key: Key, episode: Episode) -> list[Notice]:
        """Open an episode; its `size` is that of the crossing, its `peak` what came since."""
        named = f"{self._salt} {episode.since_ns} {key}"
        episode.id = blake2s(named.encode(), digest_size=8).hexdigest()  # tells no kernel address
        self._add(key, episode)
        if episode.levels.hold_ns:
            episode.held = True
            self._held.add(episode.hold_ends_ns, episode)
            return []
        self._repeat_later(episode, episode.since_ns)
        return self._notice(EXCEEDED, episode, episode.since_ns, episode.size, episode.size)

    def rename(self, key: Key, new: Key) -> Episode:
        """Have an open episode known by another key."""
        episode = self._remove(key)
        self._add(new, episode)
        return episode

    def end(self, key: Key, size: int, ns: int) -> list[Notice]:
        """Close an episode, that had this size at this instant."""
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
        """Take note that the kernel's table holds it."""
        if episode.missed:
            episode.missed = False
            if episode.held:
                self._held.add(episode.hold_ends_ns, episode)

    def go_by(self, levels_of: LevelsOf) -> None:
        """Have every open episode go by other levels from now on."""
        self._held.clear()
        self._repeats.clear()
        for episode in self.open.values():
            episode.levels = levels_of(episode.socket, episode.direction)
            if not episode.held:
                self._repeats.add(episode.repeat_due_ns, episode)
            elif not episode.missed:
                self._held.add(episode.hold_ends_ns, episode)

    def due(self, now_ns: int) -> list[Notice]:
        """Return what has been held for long enough, and what is to be repeated."""
        notices: list[Notice] = []
        for episode in self._held.take(now_ns):
            if episode.held:  # it waits twice if it was missed and found
                episode.held = False
                self._repeat_later(episode, now_ns)
                notices += self._begun(episode)
        for episode in self._repeats.take(now_ns):
            self._repeat_later(episode, now_ns)
            notices += self._notice(ONGOING, episode, now_ns, episode.size, episode.peak)
        return notices

    def next_due_ns(self) -> int | None:
        """Return when the first of what is held will have been so for long enough; None if nothing is held."""
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
        if event == ONGOING or not episode.pid:  # a socket can be handed on
            pid, comm = self._owner_of(episode.socket.inode)
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
                peak=max(peak, size),
                threshold=episode.threshold,
                pid=episode.pid,
                comm=episode.comm,
            )
        ]
