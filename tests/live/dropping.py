# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Sockets that drop, and what `nstat` says of it."""

from __future__ import annotations

import socket
import subprocess
from contextlib import ExitStack

from tests.live.sockets import udp_socket


def nstat(name: str, netns: str = "") -> int:
    """Return what `nstat` says of a counter since the namespace was made."""
    where = ["ip", "netns", "exec", netns] if netns else []
    told = subprocess.run([*where, "nstat", "-asz", name], capture_output=True, text=True, check=True).stdout
    return int(next(line.split()[1] for line in told.splitlines() if line.startswith(name)))


class Full:
    """A UDP socket that is full: what is sent to it is dropped."""

    def __init__(self, stack: ExitStack, family: str = "ipv4") -> None:
        self.reader = udp_socket(stack, family)
        self.reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        self.sender = stack.enter_context(socket.socket(self.reader.family, socket.SOCK_DGRAM))
        self.sender.connect(self.reader.getsockname()[:2])
        for _ in range(20):  # all but the first few are dropped
            self.sender.send(bytes(1009))

    def drop(self, number: int) -> None:
        for _ in range(number):
            self.sender.send(bytes(1009))
