# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Queues that stand still, and what ends that."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from tests.live.sockets import deafen, drain, port, tcp_pair, udp_socket, undeafen

UNREAD = 2003
"""Bytes: more than 1 KiB, far less than any buffer."""

DATAGRAM, DATAGRAMS = 503, 3


@dataclass(frozen=True)
class Stall:
    """A queue that stands still: what its alert says, and how it moves again; `fill` brings it to its size again."""

    sock: socket.socket
    queue: dict[str, object]
    fill: Callable[[], object]
    empty: Callable[[], object]


def unread_tcp(stack: ExitStack, family: str = "ipv4") -> Stall:
    """Leave bytes unread."""
    client, server = tcp_pair(stack, family)
    queue = {"protocol": "tcp", "type": "RECV", "local_port": port(server), "remote_port": port(client)}
    stall = Stall(server, queue, lambda: client.sendall(bytes(UNREAD)), lambda: drain(server, UNREAD))
    stall.fill()
    return stall


def unacknowledged_tcp(stack: ExitStack, family: str = "ipv4") -> Stall:
    """Send to a peer whose acknowledgements do not arrive."""
    client, server = tcp_pair(stack, family)
    queue = {"protocol": "tcp", "type": "SEND", "local_port": port(client), "remote_port": port(server)}

    def fill() -> None:
        deafen(client)
        client.sendall(bytes(UNREAD))
        drain(server, UNREAD)

    stall = Stall(client, queue, fill, lambda: undeafen(client))
    stall.fill()
    return stall


def unread_udp(stack: ExitStack, family: str = "ipv4") -> Stall:
    """Leave datagrams unread."""
    reader, writer = udp_socket(stack, family), udp_socket(stack, family)
    queue: dict[str, object] = {"protocol": "udp", "type": "RECV", "local_port": port(reader)}
    sent = 0

    def fill() -> None:
        nonlocal sent
        for _ in range(DATAGRAMS):
            sent += 1
            writer.sendto(sent.to_bytes(8, "big").ljust(DATAGRAM), reader.getsockname()[:2])

    def empty() -> None:
        for _ in range(DATAGRAMS):
            reader.recv(DATAGRAM)

    stall = Stall(reader, queue, fill, empty)
    stall.fill()
    return stall


KINDS = (unread_tcp, unacknowledged_tcp, unread_udp)
