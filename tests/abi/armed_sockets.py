# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Sockets under the attached programs, and what their own system calls and sock_diag say of them."""

from __future__ import annotations

import fcntl
import os
import socket
import struct
import termios
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from sockbpf.kernel.attach.probes import Probes
from sockbpf.kernel.look.sock_diag import dump
from sockbpf.record.event import Direction, Event, Protocol, Socket, What
from tests.live.waiting import until

THRESHOLD, FILL = 20_011, 30_011

CHUNK = 65_537
SIOCINQ, SIOCOUTQ = termios.FIONREAD, termios.TIOCOUTQ

FAMILIES = {
    "v4": (socket.AF_INET, "127.0.0.1", "127.0.0.1"),
    "v6": (socket.AF_INET6, "::1", "::1"),
    "v4-mapped": (socket.AF_INET6, "::ffff:127.0.0.1", "127.0.0.1"),
}
"""Family of the server and how it shows its addresses, and where the client connects to."""


@dataclass
class Watch:
    """The attached probes, and every event they have said so far."""

    probes: Probes
    said: list[Event] = field(default_factory=list)

    def event(self, what: What, sock: socket.socket, direction: Direction) -> Event:
        """Wait for such an event of a socket."""
        wanted = (what, inode(sock), direction)

        def find() -> Event | None:
            self.said += self.probes.read()
            return next((e for e in self.said if (e.what, e.socket.inode, e.direction) == wanted), None)

        found: Event = until(find, f"{what.name} of {direction.name}, inode {inode(sock)}")
        return found

    def entry(self, sock: socket.socket, direction: Direction) -> Event | None:
        """Return the open episode of a socket, with its latest size."""
        entries = self.probes.tables.open_episodes()
        return next((e for e in entries if (e.socket.inode, e.direction) == (inode(sock), direction)), None)


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


def netns() -> int:
    return os.stat("/proc/thread-self/ns/net").st_ino


def queued(sock: socket.socket, request: int) -> int:
    """Return what SIOCINQ or SIOCOUTQ says of a TCP socket, bytes."""
    (size,) = struct.unpack("=i", fcntl.ioctl(sock, request, bytes(4)))
    return int(size)


def dumped(sock: socket.socket, protocol: Protocol, direction: Direction) -> int:
    """Return what sock_diag says of a socket's queue, bytes."""
    (row,) = (r for r in dump(sock.family, protocol) if r.inode == inode(sock))
    return row.recv if direction is Direction.RECV else row.send


def connected(stack: ExitStack, name: str) -> tuple[socket.socket, socket.socket]:
    """Return a TCP client and its server; a v4-mapped server accepts IPv4."""
    family, _, to = FAMILIES[name]
    place = to if name == "v4" else "::"
    listener = stack.enter_context(
        socket.create_server((place, 0), family=family, dualstack_ipv6=name == "v4-mapped")
    )
    client = stack.enter_context(socket.create_connection((to, listener.getsockname()[1])))
    server = stack.enter_context(listener.accept()[0])
    return client, server


def identity(sock: socket.socket, protocol: Protocol) -> Socket:
    """Return who a socket is, as its own system calls say."""
    local = sock.getsockname()
    try:
        remote = sock.getpeername()
    except OSError:  # not connected
        remote = ("::" if sock.family == socket.AF_INET6 else "0.0.0.0", 0)
    uid = os.fstat(sock.fileno()).st_uid
    return Socket(protocol, local[0], local[1], remote[0], remote[1], netns(), inode(sock), uid)


def fill(client: socket.socket) -> None:
    """Send until the socket takes no more."""
    client.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            client.send(bytes(CHUNK))
    client.setblocking(True)


def drain(server: socket.socket, client: socket.socket) -> None:
    """Read until neither side holds anything."""
    server.setblocking(False)

    def empty() -> bool:
        with suppress(BlockingIOError):
            while True:
                server.recv(CHUNK)
        return not queued(server, SIOCINQ) and not queued(client, SIOCOUTQ)

    until(empty, "queues drained")
