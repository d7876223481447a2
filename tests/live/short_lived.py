# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A process whose sockets cross and are gone a moment later, each in one of five ways."""

from __future__ import annotations

import socket
import sys
from collections import deque
from collections.abc import Callable

from tests.live.ending import UNREAD, reset
from tests.live.network import ip
from tests.live.sockets import drain

SOCKETS = 10_007
UDP_SOCKETS = len([number for number in range(SOCKETS) if number % 5 < 2])
AT_ONCE = 5


def short_lived(listener: socket.socket, writer: socket.socket, number: int) -> Callable[[], None]:
    """Make one socket cross; return what ends it, one of five ways."""
    if number % 5 < 2:
        reader = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        reader.bind(("127.0.0.1", 0))
        writer.sendto(bytes(UNREAD), reader.getsockname())
        assert len(reader.recv(1, socket.MSG_PEEK)) == 1

        def end_udp() -> None:
            if number % 5 == 0:
                assert len(reader.recv(UNREAD)) == UNREAD
            reader.close()

        return end_udp
    client = socket.create_connection(listener.getsockname())
    server = listener.accept()[0]
    client.sendall(bytes(UNREAD))
    assert len(server.recv(UNREAD, socket.MSG_PEEK | socket.MSG_WAITALL)) == UNREAD

    def end_tcp() -> None:
        if number % 5 == 2:
            drain(server, UNREAD)
        if number % 5 == 3:
            reset(client)
        server.close()
        client.close()

    return end_tcp


def churn() -> None:
    """Be the process whose sockets come and go."""
    ip("link", "set", "lo", "up")
    with socket.create_server(("127.0.0.1", 0)) as server, udp_writer() as writer:
        alive: deque[Callable[[], None]] = deque()
        for number in range(SOCKETS):
            alive.append(short_lived(server, writer, number))
            if len(alive) == AT_ONCE:
                alive.popleft()()
        while alive:
            alive.popleft()()
        print("done", flush=True)
        sys.stdin.read()


def udp_writer() -> socket.socket:
    return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
