# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A connection of a host to a receiver: HTTP/1.1, one request at a time, and the bytes of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from urllib.parse import urlsplit

from sockbpf.delivery.destinations.http_get import retry_after_s

END = b"\r\n\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    retry_after_s: float | None
    body: bytes


class Link(asyncio.Protocol):
    """Closed once the receiver closes it, as none of thousands may stay half open."""

    def __init__(self) -> None:
        self.sent = self.received = 0
        """Bytes of HTTP since the last request began."""
        self._transport: asyncio.Transport | None = None
        self._read = b""
        self._answer: asyncio.Future[Answer] | None = None

    @property
    def is_open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    async def exchange(self, request: bytes) -> Answer:
        """Return the answer to a request; raise OSError if none comes."""
        if self._transport is None:
            raise ConnectionResetError
        self.sent, self.received, self._read = len(request), 0, b""
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer

    def close(self) -> None:
        if self._transport:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self.received += len(data)
        self._read += data
        if self._answer and not self._answer.done() and (answer := _answer_in(self._read)):
            self._answer.set_result(answer)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        if self._answer and not self._answer.done():
            self._answer.set_exception(error or ConnectionResetError())


def _answer_in(read: bytes) -> Answer | None:
    """Return the answer that these bytes are, None as long as some are missing."""
    head, end, body = read.partition(END)
    if not end:
        return None
    status, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if len(body) < int(headers.get("content-length", "0")):
        return None
    return Answer(int(status.split()[1]), retry_after_s(headers.get("retry-after"), time.time()), body)


async def connect(url: str, address: str) -> Link:
    """Connect from an address of this host. Raise OSError."""
    at = urlsplit(url)
    loop = asyncio.get_running_loop()
    assert at.hostname
    assert at.port
    _, link = await loop.create_connection(Link, at.hostname, at.port, local_addr=(address, 0))
    return link
