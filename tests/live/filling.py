# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Queues filled, and left to stand."""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from tests.live.network import DISCARD
from tests.live.sockets import tcp_pair, udp_socket


@dataclass(frozen=True)
class Filled:
    """A socket whose queue was filled, and the index of that queue in what `ss` shows."""

    kind: str
    sock: socket.socket
    direction: str

    @property
    def column(self) -> int:
        return 0 if self.direction == "RECV" else 1


def fill_tcp(stack: ExitStack, family: str, role: str, direction: str, size: int) -> Filled:
    """Leave bytes unread at a socket, or unsent for a peer that does not read."""
    if direction == "SEND":
        return fill_both_ends(stack, family, role)[0]
    writer, reader = _ends(stack, family, role == "server")
    writer.send(bytes(size))
    return Filled(f"tcp {family} {role}", reader, direction)


def fill_both_ends(stack: ExitStack, family: str, role: str) -> list[Filled]:
    """Write to a peer that does not read until nothing more goes in; return the sender, then the peer."""
    writer, reader = _ends(stack, family, role == "client")
    with suppress(BlockingIOError):
        while True:
            writer.send(bytes(1 << 20))
    return [
        Filled(f"tcp {family} {role}", writer, "SEND"),
        Filled(f"tcp {family} of a {role}", reader, "RECV"),
    ]


def _ends(stack: ExitStack, family: str, client_writes: bool) -> tuple[socket.socket, socket.socket]:
    """Return the ends of a connection: the one that writes, which never blocks, and the one that reads."""
    client, server = tcp_pair(stack, family)
    writer, reader = (client, server) if client_writes else (server, client)
    writer.setblocking(False)
    return writer, reader


def fill_udp_receive(stack: ExitStack, family: str, role: str, datagrams: int) -> Filled:
    """Leave datagrams unread at a server that is not connected, or at a client that is."""
    reader, writer = udp_socket(stack, family), udp_socket(stack, family)
    if role == "client":
        reader.connect(writer.getsockname()[:2])
    for _ in range(datagrams):
        writer.sendto(bytes(1009), reader.getsockname()[:2])
    return Filled(f"udp {family} {role}", reader, "RECV")


def fill_udp_send(stack: ExitStack, family: str, role: str, datagrams: int, far: str) -> Filled:
    """Leave datagrams in front of a slow device."""
    kind = socket.AF_INET if family == "ipv4" else socket.AF_INET6
    writer = stack.enter_context(socket.socket(kind, socket.SOCK_DGRAM))
    if role == "client":
        writer.connect((far, DISCARD))
    for _ in range(datagrams):
        writer.send(bytes(997)) if role == "client" else writer.sendto(bytes(997), (far, DISCARD))
    return Filled(f"udp {family} {role}", writer, "SEND")
