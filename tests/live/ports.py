# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Ports of this machine that nobody listens on."""

from __future__ import annotations

import random
import socket
from contextlib import closing, suppress
from pathlib import Path


def free_port() -> int:
    """Return one that stays free until it is listened on: where there are any, the kernel gives it to no client."""
    low, high = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    ports = [port for port in range(10_000, 60_000) if not low <= port <= high] or range(low, high)
    while True:
        port = random.choice(ports)
        with suppress(OSError), closing(socket.create_server(("127.0.0.1", port))):
            return port
