# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Places for connections, and the line of those that have none: which connection is given up for another. Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

GRACE_S, LINE_GRACE_S = 3.0, 5.0
"""So long a client may take before its silence counts against it: its TLS handshake included, and in the line."""
SETTLED_S = 0.05
"""So long after its answer a connection stays open at least: the answer may not have been sent yet."""
ALIKE = 8
"""Peers of which none has more connections than another by this count as alike: a monitor opens some at once."""


class Standing(Enum):
    """What a connection is doing."""

    WAITING = "it has no place, and its client has sent nothing"
    ASKING = "it has no place, and its client has sent something"
    MUTE = "its client has asked nothing yet"
    QUIET = "its client has asked before, and may ask again"
    BUSY = "the store has to answer"


OUTSIDE = frozenset({Standing.WAITING, Standing.ASKING})


class Connection(Protocol):
    def admit(self) -> None:
        """Go on: the connection, which had none, has a place."""

    def drop(self) -> None:
        """Close the connection at once."""


ByStanding = dict[Standing, dict[Connection, float]]


def _by_standing() -> ByStanding:
    return {standing: {} for standing in Standing}


@dataclass(eq=False)
class _Group:
    """Connections by standing, each with the time from which on it is in it; the oldest first."""

    of: ByStanding = field(default_factory=_by_standing)

    def idle(self, now_s: float) -> Connection | None:
        """Return a connection that nobody misses: the oldest that is mute for long, else quiet for longest."""
        for standing, least_s in ((Standing.MUTE, GRACE_S), (Standing.QUIET, SETTLED_S)):
            oldest, since_s = next(iter(self.of[standing].items()), (None, now_s))
            if now_s - since_s > least_s:
                return oldest
        return None


class Ranks:
    """How many connections each peer has, and who has most."""

    def __init__(self) -> None:
        self.of: dict[str, int] = {}
        self._peers: dict[int, dict[str, None]] = {}
        self._most = 0

    def change(self, peer: str, by: int) -> None:
        """Add 1 or -1."""
        was = self.of.pop(peer, 0)
        if was:
            del self._peers[was][peer]
        if count := was + by:
            self.of[peer] = count
            self._peers.setdefault(count, {})[peer] = None
        self._most = max(self._most, count)
        while self._most and not self._peers.get(self._most):
            self._peers.pop(self._most, None)
            self._most -= 1

    def above(self, count: int) -> Iterator[str]:
        """Yield the peers that have more, those with most first."""
        for each in range(self._most, count, -1):
            yield from self._peers.get(each, ())


class Line:
    """The connections without a place; those of each peer in the order in which they came, and peers take turns."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._of: dict[Standing, dict[str, dict[Connection, None]]] = {each: {} for each in OUTSIDE}
        self._silent: dict[Connection, tuple[str, float]] = {}
        self._ranks = Ranks()
        self.count = 0

    def put(self, connection: Connection, peer: str, standing: Standing, since_s: float) -> None:
        self._of[standing].setdefault(peer, {})[connection] = None
        if standing is Standing.WAITING:
            self._silent[connection] = peer, since_s
        self._ranks.change(peer, 1)
        self.count += 1

    def take(self, connection: Connection, peer: str, standing: Standing) -> None:
        of = self._of[standing]
        del of[peer][connection]
        if not of[peer]:
            del of[peer]
        self._silent.pop(connection, None)
        self._ranks.change(peer, -1)
        self.count -= 1

    @property
    def asks(self) -> bool:
        """Whether a client in the line has sent something."""
        return bool(self._of[Standing.ASKING])

    def first(self) -> tuple[Connection, str, Standing] | None:
        """Return who comes next, with its peer: silent ones after all that ask."""
        for standing in (Standing.ASKING, Standing.WAITING):
            for peer, queue in self._of[standing].items():
                return next(iter(queue)), peer, standing
        return None

    def end_turn(self, peer: str, standing: Standing) -> None:
        """Have other peers come before this one."""
        if peer in self._of[standing]:
            self._of[standing][peer] = self._of[standing].pop(peer)

    def is_full(self) -> bool:
        return self.count >= self._most

    def victim(self, newcomer: str, now_s: float) -> Connection | None:
        """Return who leaves the line for a newcomer: the last of a peer with many more, or who is silent for long."""
        for peer in self._ranks.above(self._ranks.of.get(newcomer, 0) + ALIKE):
            of = self._of[Standing.WAITING].get(peer) or self._of[Standing.ASKING][peer]
            return next(reversed(of))
        for connection, (_, since_s) in self._silent.items():
            return connection if now_s - since_s > LINE_GRACE_S else None
        return None


class Places:
    """The places; which connection is closed so that another one has its place."""

    def __init__(self, most: int, now_s: Callable[[], float]) -> None:
        self._most = most
        self._now_s = now_s
        self._all = _Group()
        self._groups: dict[str, _Group] = {}
        self._ranks = Ranks()
        self.count = 0

    @property
    def has_room(self) -> bool:
        return self.count < self._most

    def put(self, connection: Connection, peer: str, standing: Standing) -> None:
        since_s = self._now_s()
        for group in (self._all, self._groups.setdefault(peer, _Group())):
            group.of[standing][connection] = since_s
        self._ranks.change(peer, 1)
        self.count += 1

    def take(self, connection: Connection, peer: str, standing: Standing) -> None:
        for group in (self._all, self._groups[peer]):
            del group.of[standing][connection]
        self._ranks.change(peer, -1)
        self.count -= 1
        if peer not in self._ranks.of:
            del self._groups[peer]

    def move(self, connection: Connection, peer: str, was: Standing, standing: Standing) -> None:
        """Note that a connection is doing something else."""
        since_s = self._now_s()
        for group in (self._all, self._groups[peer]):
            del group.of[was][connection]
            group.of[standing][connection] = since_s

    def of_many(self, newcomer: str) -> Connection | None:
        """Return the connection to close of a peer that has many more than the newcomer's, None if nobody has."""
        now_s = self._now_s()
        for peer in self._ranks.above(self._ranks.of.get(newcomer, 0) + ALIKE):
            group = self._groups[peer]
            if found := group.idle(now_s) or next(iter(group.of[Standing.MUTE]), None):
                return found
        return None

    def idle(self, newcomer: str) -> Connection | None:
        """Return the connection to close that is idle, of a peer that has many its own; None if there is none."""
        return (self._groups[newcomer] if self.has_many(newcomer) else self._all).idle(self._now_s())

    def has_many(self, peer: str) -> bool:
        return self._ranks.of.get(peer, 0) > ALIKE
