# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A server on loopback that takes values as Zabbix's trapper does, and answers as it is told to."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from sockbpf.delivery.destinations.zabbix import Zabbix
from sockbpf.delivery.destinations.zabbix_message import framed

HANGS_S = 20
"""Far above any timeout of these tests: who takes that long hangs."""
TAKEN = {"response": "success", "info": "processed: 1; failed: 0; total: 1; seconds spent: 0.000055"}

Answer = Callable[[socket.socket], None]


@dataclass
class Server:
    """Takes requests as a Zabbix server does, and keeps them."""

    port: int
    requests: list[Any] = field(default_factory=list)

    def destination(self, *, host: str = "", timeout_s: float = HANGS_S) -> closing[Zabbix]:
        return closing(Zabbix(address=("127.0.0.1", self.port), host=host, timeout_s=timeout_s))


def exactly(connection: socket.socket, length: int) -> bytes:
    read = connection.recv(length, socket.MSG_WAITALL)
    assert len(read) == length
    return read


@contextmanager
def server(answer: Answer) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        made = Server(listening.getsockname()[1])

        def serve() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = listening.accept()
                    with connection, suppress(OSError):
                        magic, flags, length, reserved = struct.unpack("<4sBII", exactly(connection, 13))
                        assert (magic, flags, reserved) == (b"ZBXD", 1, 0)
                        made.requests.append(json.loads(exactly(connection, length)))
                        answer(connection)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield made
        finally:
            listening.shutdown(socket.SHUT_RDWR)
            thread.join(HANGS_S)


def say(said: Any) -> Answer:
    return lambda connection: connection.sendall(framed(json.dumps(said).encode()))
