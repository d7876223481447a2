# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Ports of this machine that nobody listens on."""

from __future__ import annotations

import socket
from contextlib import closing


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        return int(server.getsockname()[1])


def closed_port() -> int:
    """Return a port that nobody listens on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        return int(server.getsockname()[1])
