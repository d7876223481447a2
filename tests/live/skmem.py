# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What `ss -m` shows of each socket: its queues, and how full its buffers are as the kernel counts it."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass

SKMEM = re.compile(r"skmem:\(r(\d+),rb(\d+),t(\d+),tb(\d+),f-?\d+,w(\d+),o\d+,bl\d+,d(\d+)\)")


@dataclass(frozen=True)
class Memory:
    """Recv-Q and Send-Q; the bytes in use and the size of the buffer, by direction; drops."""

    queues: tuple[int, int]
    recv: tuple[int, int]
    send: tuple[int, int]
    drops: int

    def of(self, direction: str) -> tuple[int, int]:
        """Return the bytes in use and the size of one buffer."""
        return self.recv if direction == "RECV" else self.send


def memory(netns: str = "") -> dict[int, Memory]:
    """Return what is shown of all TCP and UDP sockets, by inode; in a named network namespace if given."""
    enter = ["ip", "netns", "exec", netns] if netns else []
    command = [*enter, "ss", "-HnaemtuO"]
    # A cgroup may be called by any bytes.
    shown = subprocess.run(command, capture_output=True, text=True, errors="replace", check=True)
    found = {}
    for line in shown.stdout.splitlines():
        numbers, ino = SKMEM.search(line), re.search(r"\bino:(\d+)", line)
        if numbers and ino:
            r, rb, t, tb, w, d = map(int, numbers.groups())
            protocol, _, recv_q, send_q, *_ = line.split()
            charged = w if protocol == "tcp" else t
            found[int(ino[1])] = Memory((int(recv_q), int(send_q)), (r, rb), (charged, tb), d)
    return found
