# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Load without end."""

from __future__ import annotations

import time
from contextlib import ExitStack

from tests.live.sockets import drain, tcp_pair, udp_socket

UNREAD = 30_011


def load_without_end(pause_s: float = 0.01) -> None:
    """Be the load: sockets that cross and drain, and one that stays over."""
    with ExitStack() as stack:
        client, server = tcp_pair(stack)
        reader, writer = udp_socket(stack), udp_socket(stack)
        stuck = udp_socket(stack)
        writer.sendto(bytes(UNREAD), stuck.getsockname())
        print("ready", flush=True)
        while True:
            client.sendall(bytes(UNREAD))
            drain(server, UNREAD)
            writer.sendto(bytes(UNREAD), reader.getsockname())
            assert len(reader.recv(UNREAD)) == UNREAD
            time.sleep(pause_s)
