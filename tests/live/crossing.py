# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Sockets that cross their threshold again and again, and some that stay over it."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack

from tests.live.sockets import drain, port, tcp_pair, udp_socket
from tests.live.waiting import wait_until

UNREAD = 30_011

EACH_S = 0.02
STAYING = 3


def cross(times: int) -> int:
    """Cross and drain, one episode each; return the port."""
    with ExitStack() as stack:
        client, server = tcp_pair(stack)
        begun = time.monotonic()
        for number in range(times):
            wait_until(begun + number * EACH_S)
            client.sendall(bytes(UNREAD))
            drain(server, UNREAD)
        return port(server)


def stand_over(stack: ExitStack) -> list[socket.socket]:
    sender = udp_socket(stack)
    staying = [udp_socket(stack) for _ in range(STAYING)]
    for sock in staying:
        sender.sendto(bytes(UNREAD), sock.getsockname())
    return staying
