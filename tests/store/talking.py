# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""HTTP by hand, for clients that send what no library would send."""

from __future__ import annotations

import os
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit


@contextmanager
def as_user(uid: int) -> Iterator[None]:
    """Have what is connected in this block be of another user."""
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(0)


WAIT_S = 20.0
"""Only a store that hangs lets a client wait so long."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


class Talk:
    """A connection to a store."""

    def __init__(self, url: str, *, room: int = 0, trusted: str | bool = True) -> None:
        """Connect; `room` is how much the kernel takes of answers, bytes, 0 for what it likes.

        `trusted` is the file of the authority that a certificate must be of, if the store speaks TLS.
        """
        parts = urlsplit(url)
        self.socket = socket.socket()
        self.socket.settimeout(WAIT_S)
        if room:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, room)
        self.socket.connect((parts.hostname, parts.port))
        if parts.scheme == "https":
            context = ssl.create_default_context(cafile=str(trusted))
            self.socket = context.wrap_socket(self.socket, server_hostname=parts.hostname)
        self._file = self.socket.makefile("rb")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        self.socket.close()

    def send(self, text: bytes) -> None:
        self.socket.sendall(text)

    def answer(self, method: str = "GET") -> Answer | None:
        """Return the next answer, None if the store has closed; of a stream only its head.

        Raise OSError where the connection is broken off, TimeoutError where nothing happens.
        """
        while True:
            line = self._file.readline()
            if not line:
                return None
            status = int(line.split()[1])
            headers: dict[str, str] = {}
            while (line := self._file.readline()) not in {b"\r\n", b""}:
                name, _, text = line.decode("latin-1").partition(":")
                headers[name.lower()] = text.strip()
            if status >= 200:
                return Answer(status, headers, self._body(headers, method))

    def _body(self, headers: dict[str, str], method: str) -> bytes:
        if method == "HEAD" or headers.get("content-type", "").startswith("text/event-stream"):
            return b""
        if headers.get("transfer-encoding") != "chunked":
            return self._file.read(int(headers.get("content-length", "0")))
        chunks = []
        while size := int(self._file.readline(), 16):
            chunks.append(self._file.read(size))
            self._file.readline()
        self._file.readline()
        return b"".join(chunks)

    def is_let_go(self) -> bool:
        """Wait until the store has closed this connection; whatever it says before is read."""
        try:
            while self.socket.recv(65536):
                pass
        except TimeoutError:
            return False
        except OSError:
            pass
        return True


def children(pid: int) -> list[int]:
    """Return the ids of the processes that this one has started."""
    tasks = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for task in tasks for child in task.read_text().split()]


def memory_mib(pid: int) -> float:
    """Return the resident memory of a process."""
    with open(f"/proc/{pid}/status") as status:
        found = re.search(r"^VmRSS:\s+(\d+) kB", status.read(), re.MULTILINE)
    assert found
    return int(found[1]) / 1024
