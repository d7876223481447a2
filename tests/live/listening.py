# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Listeners from which nobody accepts, and what `ss` and `nstat` say of them."""

from __future__ import annotations

import re
import socket
import subprocess
from contextlib import ExitStack

from tests.live.sockets import inode
from tests.live.waiting import until

BACKLOG = 128


def listener(
    stack: ExitStack, family: str = "ipv4", backlog: int = BACKLOG, *, shared: int | None = None
) -> socket.socket:
    """Return a listener on loopback; `mapped` takes IPv4 by IPv6; `shared` is a port to share, 0 a free one."""
    kind = socket.AF_INET if family == "ipv4" else socket.AF_INET6
    made = stack.enter_context(socket.socket(kind))
    if shared is not None:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    if family != "ipv4":
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, family == "ipv6")
    host = {"ipv4": "127.0.0.1", "ipv6": "::1", "mapped": "::ffff:127.0.0.1"}[family]
    made.bind((host, shared or 0))
    made.listen(backlog)
    return made


def connect(stack: ExitStack, server: socket.socket, number: int) -> None:
    """Make so many connections to a listener that has room for them, and wait until all wait there."""
    before = queue(server)[0]
    for _ in range(number):
        client = stack.enter_context(socket.socket(server.family))
        client.connect(server.getsockname()[:2])
    until(lambda: queue(server)[0] >= before + number, lambda: f"{number} in the queue: {queue(server)}")


def knock(server: socket.socket, number: int) -> None:
    """Send so many connection requests to a listener that is full, each once."""
    for _ in range(number):
        with socket.socket(server.family) as client:
            client.setblocking(False)
            client.connect_ex(server.getsockname()[:2])


def queue(server: socket.socket) -> tuple[int, int]:
    """Return what `ss -ltn` shows: connections that wait, and the backlog."""
    shown = subprocess.run(["ss", "-H", "-l", "-t", "-n", "-e"], capture_output=True, text=True, check=True)
    columns = next(
        line.split() for line in shown.stdout.splitlines() if re.search(rf"\bino:{inode(server)}\b", line)
    )
    return int(columns[1]), int(columns[2])


def overflows() -> tuple[int, int]:
    """Return ListenOverflows and ListenDrops of this namespace since it was made, as `nstat` has them."""
    names = ("TcpExtListenOverflows", "TcpExtListenDrops")
    shown = subprocess.run(["nstat", "-a", "-s", "-z", *names], capture_output=True, text=True, check=True)
    counts = dict(line.split()[:2] for line in shown.stdout.splitlines() if line.startswith("Tcp"))
    return int(counts[names[0]]), int(counts[names[1]])
