# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""All open connections, and which of them is closed when there are too many: none that waits for its answer.

Connections are counted for each peer: a user of this host, or another host. When there is no room for a new one, the
peer with the most connections loses one: the oldest on which nothing was asked for a while, else the one that is
quiet for longest. So a client that opens thousands loses its own, and of many clients behind one address, each with a
connection that it keeps, none loses one that it is just making. The monitor, which is root, and clients that have
sent the token have places of their own.
"""

from __future__ import annotations

import ipaddress
import os
import time
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol

from sockbpf.store.web.peer import Peers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MOST_OTHERS, MOST_OURS = 1000, 500
SPARE_FILES = 100
"""Descriptors left for everything else: the database, the log, connections that are just being closed."""
GRACE_S = 1.0
"""So long a client may take, its TLS handshake included, before its silence counts against it."""
OURS = "ours"
"""The peer under which the monitor, root, and clients that have sent the token are counted."""


class Standing(Enum):
    """What a connection is doing."""

    MUTE = "its client has asked nothing yet"
    QUIET = "its client has asked before, and may ask again"
    BUSY = "the store has to answer"


class Connection(Protocol):
    def drop(self) -> None:
        """Close the connection at once."""


@dataclass(eq=False)
class _Group:
    """The connections of one peer, by state, each with the time from which on it is in it; the oldest first."""

    count: int = 0
    of: dict[Standing, dict[Connection, float]] = field(
        default_factory=lambda: {state: {} for state in Standing}
    )

    def victim(self, now_s: float) -> Connection | None:
        """Return the connection to close first, None if each waits for its answer."""
        mute, since_s = next(iter(self.of[Standing.MUTE].items()), (None, now_s))
        if now_s - since_s > GRACE_S:
            return mute
        return next(iter(self.of[Standing.QUIET]), mute)


class Crowd:
    """Used in the event loop only; `files` is how many descriptors this process may have."""

    def __init__(self, files: int, now_s: Callable[[], float] = time.monotonic) -> None:
        room = max(files - SPARE_FILES, 30)
        self._most_ours = min(MOST_OURS, room // 3)
        self._most_others = min(MOST_OTHERS, room // 3)
        self._now_s = now_s
        self._users = {0, os.getuid()}
        self._peers = Peers()
        self._groups: dict[str, _Group] = {OURS: _Group()}
        self._where: dict[Connection, tuple[str, Standing]] = {}
        self.shed = 0
        self.turned_away = 0

    def close(self) -> None:
        """Ask the kernel nothing more; the connections stay as they are."""
        self._peers.close()

    def __len__(self) -> int:
        return len(self._where)

    def peer_of(self, theirs: tuple[str, int | None] | None, ours: tuple[str, int | None] | None) -> str:
        """Return the name of the peer at the other end: OURS, a user of this host, a host, an IPv6 network of /64."""
        if not theirs or not ours or not theirs[1] or not ours[1]:
            return "unknown"
        address = ipaddress.ip_address(theirs[0].partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None) or address
        if mapped.is_loopback or theirs[0] == ours[0]:
            user = self._peers.user_of((theirs[0], theirs[1]), (ours[0], ours[1]))
            return OURS if user in self._users else f"user {user}"
        if isinstance(mapped, ipaddress.IPv6Address):
            return str(ipaddress.ip_network((mapped, 64), strict=False))
        return str(mapped)

    def is_ours(self, connection: Connection) -> bool:
        """Whether a connection is the monitor's, root's, or of a client that has sent the token."""
        where = self._where.get(connection)
        return where is not None and where[0] == OURS

    def enter(self, connection: Connection, peer: str) -> bool:
        """Add a connection, if need be by closing another one; return whether there is a place."""
        is_ours = peer == OURS
        most = self._most_ours if is_ours else self._most_others
        while self._count(is_ours=is_ours) >= most:
            victim = self._victim(peer)
            if victim is None:
                self.turned_away += 1
                return False
            self.shed += 1
            self.leave(victim)
            victim.drop()
        self._put(connection, peer, Standing.MUTE)
        return True

    def place(self, connection: Connection, state: Standing) -> None:
        """Note what a connection is doing now; the last to become quiet is the last to be closed."""
        where = self._where.get(connection)
        if where is None or (where[1] is state and state is not Standing.QUIET):
            return
        self.leave(connection)
        self._put(connection, where[0], state)

    def trust(self, connection: Connection) -> None:
        """Count a connection under OURS, if there is room: its client has sent the token."""
        where = self._where.get(connection)
        if where and where[0] != OURS and self._groups[OURS].count < self._most_ours:
            self.leave(connection)
            self._put(connection, OURS, where[1])

    def leave(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        peer, state = self._where.pop(connection, (None, Standing.MUTE))
        if peer is None:
            return
        group = self._groups[peer]
        group.count -= 1
        del group.of[state][connection]
        if not group.count and peer != OURS:
            del self._groups[peer]

    def _put(self, connection: Connection, peer: str, state: Standing) -> None:
        group = self._groups.setdefault(peer, _Group())
        group.count += 1
        group.of[state][connection] = self._now_s()
        self._where[connection] = (peer, state)

    def _count(self, *, is_ours: bool) -> int:
        ours = self._groups[OURS].count
        return ours if is_ours else len(self._where) - ours

    def _victim(self, newcomer: str) -> Connection | None:
        if newcomer == OURS:
            return self._groups[OURS].victim(self._now_s())
        least = self._groups[newcomer].count if newcomer in self._groups else 0
        others = (group for peer, group in self._groups.items() if peer != OURS and group.count >= least)
        now_s = self._now_s()
        return _first(group.victim(now_s) for group in sorted(others, key=lambda group: -group.count))


def _first(found: Iterable[Connection | None]) -> Connection | None:
    return next((each for each in found if each is not None), None)
