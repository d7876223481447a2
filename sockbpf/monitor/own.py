# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which sockets are the monitor's own: there are no alerts about them.

The hooks mark a socket, by its inode, when a call of this process sends on it. A crossing of an unmarked socket is
checked again here: an answer can come before the sending call has returned, and a server's sockets exist before this
process has accepted them.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, TypeVar
from typing import Protocol as Shape

from sockbpf.kernel.look.owner import open_inodes
from sockbpf.record.event import Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sockbpf.kernel.attach.tables import Tables
    from sockbpf.record.event import Event, Socket


class HasSocket(Shape):
    """A record about one socket: an event, a reading."""

    @property
    def socket(self) -> Socket:
        """The socket that the record is about."""


Seen = TypeVar("Seen", bound=HasSocket)
WILDCARDS = frozenset({"0.0.0.0", "::"})  # noqa: S104, compared with
Address = tuple[str, int]


class Own:
    """Knows which sockets are the monitor's own: `socket in own`."""

    def __init__(self, tables: Tables | None, serves: Callable[[], Address | None]) -> None:
        """Use the marks in `tables`, if there are hooks; `serves` returns where this process listens, if it does."""
        self._tables = tables
        self._serves = serves
        self._netns = os.stat("/proc/self/ns/net").st_ino
        self.late = 0
        """How many crossings of the monitor's own sockets the kernel side reported, because they were not marked."""
        self._closed: frozenset[int] = frozenset()
        """The marked inodes whose sockets were found closed at the last look."""

    def __contains__(self, socket: Socket) -> bool:
        return self._is_served(socket) or bool(
            self._tables and socket.inode and self._tables.is_own(socket.inode)
        )

    def others(self, seen: Iterable[Seen]) -> list[Seen]:
        """Return the records about other sockets than the monitor's own; the marks are read once for all."""
        marked = self._tables.own_inodes() if self._tables else frozenset()
        return [one for one in seen if one.socket.inode not in marked and not self._is_served(one.socket)]

    def reap(self, event: Event) -> None:
        """Have the kernel side forget the episode of one of the monitor's own sockets."""
        if self._tables:
            self.late += self._tables.reap(event.address, event.direction)

    def _is_served(self, socket: Socket) -> bool:
        address = self._serves()
        if address is None or socket.protocol is not Protocol.TCP or socket.netns != self._netns:
            return False
        ip, port = address
        return socket.local_port == port and (ip in WILDCARDS or socket.local_ip in {ip, f"::ffff:{ip}"})

    def forget_closed(self) -> None:
        """Take the marks off sockets that the last call found closed: all their events have been read since."""
        if self._tables is None:
            return
        marked = (
            self._tables.own_inodes()
        )  # read first: a socket that is marked and open has its descriptor by now
        closed = marked - open_inodes()
        self._tables.forget_own(closed & self._closed)
        self._closed = closed - self._closed
