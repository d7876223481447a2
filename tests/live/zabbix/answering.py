# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Statuses that a monitor could give, from its socket: with everything wrong, with nothing, of one that hangs."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

WELL: dict[str, Any] = {
    "version": "1", "state": "watching", "blind": [], "mode": "ebpf", "unseen": [], "looked": 0.5, "over": 0,
    "stalled": 0, "held": 0, "oldest": 0, "open": [], "owed": 0, "oldest_owed": 0, "lost": 3,
}  # fmt: skip
QUEUE = {
    "held": False, "protocol": "tcp", "local_ip": "::", "local_port": 25, "remote_ip": "::", "remote_port": 40009,
    "type": "RECV", "condition": "size", "severity": "critical", "size": 7, "duration": 700, "comm": 'a"]\n{$X}',
}  # fmt: skip
WRONG = WELL | {
    "blind": ["the thread x hangs"], "over": 21, "stalled": 22, "oldest": 3601, "open": [QUEUE], "owed": 101,
}  # fmt: skip
PROBLEMS = (
    "Sockbpf: The monitor is blind",
    "Sockbpf: Queues over: 21, more than 20",
    "Sockbpf: Queues stalled: 22, more than 20",
    "Sockbpf: A queue has been over or stalled for more than 1h",
    "Sockbpf: More than 100 alerts have been owed for 2s",
    "Sockbpf: tcp 25: Queues over: 1",
    "Sockbpf: tcp 25: Queues critical: 1",
    "Sockbpf: tcp 25: A queue has been over or stalled for more than 10m",
)
"""What is wrong with WRONG."""

LOST = "Sockbpf: More than 0 alerts, events or log lines were lost within 5s"
MACROS = {"{$SOCKBPF.INTERVAL}": "1s", "{$SOCKBPF.OWED.TIME}": "2s", "{$SOCKBPF.LOST.TIME}": "5s"}
"""Short times, so that a test is."""

HANGS = {"state": "hangs", "version": "1", "pid": 7, "blind": ["the loop has not answered for 1 s"]}


@dataclass
class Answers:
    """What is answered from now on."""

    status: dict[str, Any] = field(default_factory=dict)


@contextmanager
def answering(path: Path, status: dict[str, Any]) -> Iterator[Answers]:
    """Answer at the socket of a monitor that is gone."""
    path.unlink(missing_ok=True)
    made = Answers(status)
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        listening.listen()

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, suppress(OSError):
                        connection.sendall(json.dumps(made.status).encode())

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield made
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join()
