# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""All open connections, and what is done when there are too many: none is closed whose client is about to ask.

A connection for which there is no place waits in a line, until its client has sent something and there is a place:
one is free, or a connection that is idle is closed. Connections are counted for each peer: a user of this host, or
another host. Where a peer has many more than the newcomer's, it loses one, be it idle or not. So a client that opens
thousands loses its own, and thousands of clients that come at once are answered in turn. The monitor, which is root,
and clients that have sent the token have places, and a line, of their own.
"""

from __future__ import annotations

import asyncio
import ipaddress
import math
import os
import time
from typing import TYPE_CHECKING

from sockbpf.store.web.peer import Peers
from sockbpf.store.web.places import OUTSIDE, Connection, Line, Places, Standing

if TYPE_CHECKING:
    from collections.abc import Callable

    Later = Callable[[float, Callable[[], None]], object]

MOST_OTHERS, MOST_OURS = 1000, 500
MOST_IN_LINE = 5000
"""Of each of the two lines."""
SPARE_FILES = 100
"""Descriptors left for everything else: the database, the log, connections that are just being closed."""
OURS = "ours"
"""The peer under which the monitor, root, and clients that have sent the token are counted."""
LOOK_S = 0.1
"""While connections are in a line, so often the crowd looks for others that have become idle."""
MOST_SHED = 50
"""So many connections are closed by one look at most: what takes their places keeps the event loop busy."""
MOST_PASSED = 16
"""So many peers that find none are passed by at most, to look for who finds one."""
MOST_EARLY_BYTES = 16 * 2**20
"""What may be kept of all connections in the lines, of what their clients have sent."""
FEW_BYTES = 4096
"""Of each connection so much may be kept in any case."""


def _later(seconds: float, call: Callable[[], None]) -> object:
    return asyncio.get_running_loop().call_later(seconds, call)


class Crowd:
    """Used in the event loop only; `files` is how many descriptors this process may have."""

    def __init__(
        self, files: int, now_s: Callable[[], float] = time.monotonic, later: Later = _later
    ) -> None:
        room = max(files - SPARE_FILES, 30)
        most_ours, most_others = min(MOST_OURS, room // 3), min(MOST_OTHERS, room // 3)
        most_in_line = min(MOST_IN_LINE, (room - most_ours - most_others) // 3)
        self._now_s, self._later = now_s, later
        self._users = {0, os.getuid()}
        self._peers = Peers()
        self._ours = Places(most_ours, self._turns_s), Line(most_in_line)
        self._others = Places(most_others, self._turns_s), Line(most_in_line)
        self._where: dict[Connection, tuple[str, Standing]] = {}
        self._look_s = math.inf
        self._late_s = 0.0
        self.early_bytes = 0
        self.shed = 0
        self.turned_away = 0

    def close(self) -> None:
        """Ask the kernel nothing more; the connections stay as they are."""
        self._peers.close()

    def __len__(self) -> int:
        return len(self._where)

    @property
    def in_line(self) -> int:
        """How many connections have no place."""
        return self._ours[1].count + self._others[1].count

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

    def enter(self, connection: Connection, peer: str) -> Standing | None:
        """Add a connection; return MUTE if it has a place, WAITING if it is in the line, None if neither has room."""
        places, line = self._of(peer)
        if places.has_room and not line.asks:
            return self._put(connection, peer, Standing.MUTE)
        if line.is_full():
            victim = line.victim(peer, self._turns_s())
            if victim is None:
                self.turned_away += 1
                return None
            self._shed(victim)
        self._look_later()
        return self._put(connection, peer, Standing.WAITING)

    def ask(self, connection: Connection) -> None:
        """Note that the client of a connection in the line has sent something: it may be admitted at once."""
        if (where := self._where.get(connection)) and where[1] is Standing.WAITING:
            self._take(connection)
            self._put(connection, where[0], Standing.ASKING)
            places, line = self._of(where[0])
            self._go_on(places, line)
            still = self._where.get(connection) == (where[0], Standing.ASKING)
            if still and (victim := places.of_many(where[0])):  # who is before it in the line may have many
                self._shed(victim)
                self._admit(connection)

    def place(self, connection: Connection, standing: Standing) -> None:
        """Note what a connection that has a place is doing now; the last to become quiet is the last to be closed."""
        where = self._where.get(connection)
        if where is None or (where[1] is standing and standing is not Standing.QUIET):
            return
        self._of(where[0])[0].move(connection, *where, standing)
        self._where[connection] = where[0], standing

    def trust(self, connection: Connection) -> None:
        """Count a connection under OURS, if there is room: its client has sent the token."""
        where = self._where.get(connection)
        if where and where[0] != OURS and self._ours[0].has_room:
            self.leave(connection)
            self._put(connection, OURS, where[1])

    def is_wanted(self, connection: Connection) -> bool:
        """Whether others that ask wait for the place of this connection."""
        where = self._where.get(connection)
        return where is not None and self._of(where[0])[1].asks

    def leave(self, connection: Connection) -> None:
        """Forget a connection that is closed."""
        if where := self._where.get(connection):
            self._take(connection)
            self._go_on(*self._of(where[0]))

    def _of(self, peer: str) -> tuple[Places, Line]:
        return self._ours if peer == OURS else self._others

    def _put(self, connection: Connection, peer: str, standing: Standing) -> Standing:
        places, line = self._of(peer)
        if standing in OUTSIDE:
            line.put(connection, peer, standing, self._turns_s())
        else:
            places.put(connection, peer, standing)
        self._where[connection] = peer, standing
        return standing

    def _take(self, connection: Connection) -> None:
        peer, standing = self._where.pop(connection)
        self._of(peer)[standing in OUTSIDE].take(connection, peer, standing)

    def _shed(self, victim: Connection) -> None:
        self.shed += 1
        self._take(victim)
        victim.drop()

    def _go_on(self, places: Places, line: Line, most_shed: int = 1) -> None:
        """Give places to those in the line: what is free, and of so many connections that are idle."""
        most_passed = MOST_PASSED
        while found := line.first():
            connection, peer, standing = found
            if not places.has_room:
                asks = standing is Standing.ASKING
                victim = (places.of_many(peer) or places.idle(peer)) if asks else None
                if not most_shed or (victim is None and not (most_passed and places.has_many(peer))):
                    return
                if victim is None:  # all of its own are busy: others may find an idle one
                    most_passed -= 1
                    line.end_turn(peer, standing)
                    continue
                most_shed -= 1
                self._shed(victim)
            self._admit(connection)
            line.end_turn(peer, standing)

    def _admit(self, connection: Connection) -> None:
        peer, _ = self._where[connection]
        self._take(connection)
        self._put(connection, peer, Standing.MUTE)
        connection.admit()

    def _turns_s(self) -> float:
        """Return the time, but for what the event loop was late: no client's silence is the store's own."""
        return min(self._now_s(), self._look_s) - self._late_s

    def _look_later(self) -> None:
        if self._look_s == math.inf:
            self._look_s = self._now_s() + LOOK_S
            self._later(LOOK_S, self._look)

    def _look(self) -> None:
        self._late_s += max(0.0, self._now_s() - self._look_s)
        self._look_s = math.inf
        for places, line in (self._ours, self._others):
            self._go_on(places, line, MOST_SHED)
        if self.in_line:
            self._look_later()
