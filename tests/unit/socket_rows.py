# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Rows of sockets, for tests of what is done with them."""

from __future__ import annotations

from typing import Any

from sockbpf.judge.levels import Levels
from sockbpf.judge.ranking import accept_queue_now, queue_now
from sockbpf.record.event import Direction, Protocol, Socket
from sockbpf.record.facts import Facts
from sockbpf.record.socket_row import NOBODY, SocketRow, Whose

MIB = 1 << 20
LEVELS = Levels(MIB, MIB // 2, 0, 0)
ESTABLISHED, CLOSE_WAIT, LISTEN = 1, 8, 10
BUFFER = 4 * MIB


def a_socket(**fields: Any) -> Socket:
    standard: dict[str, Any] = {
        "protocol": Protocol.TCP,
        "local_ip": "192.0.2.1",
        "local_port": 443,
        "remote_ip": "198.51.100.7",
        "remote_port": 50_021,
        "netns": 4_026_531_833,
        "inode": 5003,
        "uid": 0,
    }
    return Socket(**standard | fields)


def a_row(
    recv: int = 0,
    send: int = 0,
    *,
    state: int = ESTABLISHED,
    levels: Levels = LEVELS,
    whose: Whose = NOBODY,
    drops: int | None = 0,
    **fields: Any,
) -> SocketRow:
    """Return a socket with these queues, in buffers of 4 MiB; of UDP it has no state."""
    sizes = {Direction.SEND: send, Direction.RECV: recv}
    queues = {
        direction: queue_now(size, Facts(BUFFER, size, state), levels) for direction, size in sizes.items()
    }
    socket = a_socket(**fields)
    return SocketRow(socket, state if socket.protocol is Protocol.TCP else 0, queues, drops, whose)


def a_listener(waiting: int, backlog: int, threshold: int | None = 100, **fields: Any) -> SocketRow:
    levels = None if threshold is None else Levels(threshold, 0, 0, 0)
    queue = accept_queue_now(waiting, Facts(backlog, waiting, LISTEN), levels)
    ends = {"remote_ip": "0.0.0.0", "remote_port": 0}
    return SocketRow(a_socket(**ends | fields), LISTEN, {Direction.ACCEPT: queue}, 0)
