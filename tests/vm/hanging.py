# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A program in a fresh host whose reader hangs."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from tests.live.systemd import Systemd

HUNG = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server = listener.accept()[0]
client.sendall(bytes(5003))
print(listener.getsockname()[1], flush=True)
input()
"""


@contextmanager
def started(host: Systemd, program: str) -> Iterator[subprocess.Popen[str]]:
    enter = ["nsenter", "-t", str(host.pid), "--mount", "--pid", "--net", f"--root={host.root}", "--wd=/"]
    with subprocess.Popen(
        [*enter, "/usr/bin/python3", "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            process.kill()
