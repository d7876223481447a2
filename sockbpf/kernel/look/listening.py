# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A look at the listeners of all network namespaces: their accept queues, what they dropped, the overflows there."""

from __future__ import annotations

import logging
import socket
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sockbpf.kernel.look.netns import inside, namespaces
from sockbpf.kernel.look.owner import open_inodes
from sockbpf.kernel.look.row import socket_of
from sockbpf.kernel.look.sock_diag import dump_listeners, dump_unaccepted
from sockbpf.process.clock import monotonic_ns
from sockbpf.record.event import Protocol
from sockbpf.record.listening import Listener, ListenLook, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Container

    from sockbpf.kernel.look.row import Row
    from sockbpf.record.event import Socket

log = logging.getLogger(__name__)

FAMILIES = (socket.AF_INET, socket.AF_INET6)
COUNTS = Path("/proc/thread-self/net/netstat")
"""Those of the namespace of the calling thread."""

SEARCH_NS = 5 * 10**9
"""From one search for namespaces to the next: it reads a link of each process, and costs more than the look."""


class ListenerLook:
    """Looks at all listeners: call it. For one thread."""

    def __init__(self, who_waits: Callable[[], Container[Place]], *, wanted: bool = True) -> None:
        """Begin; `who_waits` returns those listeners of which a look is to say who waits.

        If it is not `wanted`, which may be changed at any time, a look shows nothing and costs nothing.
        """
        self.wanted = wanted
        self._who_waits = who_waits
        self._places: dict[int, str] = {}
        self._searched_ns: int | None = None
        self._sockets: dict[tuple[int, int], Socket] = {}
        """By namespace and cookie, those of the last look: making one costs more than all else."""

    def __call__(self) -> ListenLook:
        """Look; a namespace that cannot be entered is passed over. Raise OSError."""
        begun_ns = monotonic_ns()
        if not self.wanted:
            return ListenLook(begun_ns, begun_ns, frozenset(), {}, ())
        if self._searched_ns is None or begun_ns - self._searched_ns >= SEARCH_NS:
            self._places, self._searched_ns = namespaces(), begun_ns
        own = open_inodes()
        overflows: dict[int, int] = {}
        listeners: list[Listener] = []
        for number, path in self._places.items():
            try:
                with inside(path) as entered:
                    if entered != number:  # the process has gone into another one
                        self._searched_ns = None
                        continue
                    found = self._listeners(number, own)
                    overflows[number] = overflows_of(COUNTS.read_text())
            except OSError as fault:
                self._searched_ns = None  # it is gone, or only the process is by which it was found
                log.debug("listeners of network namespace %d: %s", number, fault)
            else:
                listeners += found
        self._sockets = {(each.socket.netns, each.cookie): each.socket for each in listeners}
        return ListenLook(begun_ns, monotonic_ns(), frozenset(self._places), overflows, tuple(listeners))

    def _listeners(self, netns: int, own: set[int]) -> list[Listener]:
        asked = self._who_waits()
        found = []
        for family in FAMILIES:
            unaccepted: dict[int, frozenset[int]] = {}
            for row, cookie, drops in list(dump_listeners(family)):
                listener = self._listener(row, cookie, drops, netns, own)
                if listener.place in asked:
                    port = listener.socket.local_port
                    if port not in unaccepted:
                        unaccepted[port] = frozenset(dump_unaccepted(family, port))
                    listener = replace(listener, connections=unaccepted[port])
                found.append(listener)
        return found

    def _listener(self, row: Row, cookie: int, drops: int | None, netns: int, own: set[int]) -> Listener:
        socket = self._sockets.get((netns, cookie)) or socket_of(row, Protocol.TCP, netns)
        return Listener(socket, cookie, row.recv, row.send, drops, row.inode in own)


def overflows_of(netstat: str) -> int:
    """Return ListenOverflows of what /proc/net/netstat shows, as `nstat` has it; raise OSError if it is not there."""
    lines = [line.split() for line in netstat.splitlines() if line.startswith("TcpExt:")]
    for names, counts in zip(lines[::2], lines[1::2], strict=False):
        if "ListenOverflows" in names:
            return int(counts[names.index("ListenOverflows")])
    raise OSError("no ListenOverflows in /proc/net/netstat")
