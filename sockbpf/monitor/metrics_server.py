# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The server that Prometheus scrapes: a thread with a port, which no client holds up for long."""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import threading
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from sockbpf.process.life import REST_S, passing, start_thread

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sockbpf.counters import Counters
    from sockbpf.process.life import Pulse

    Answer = Callable[[str, list[str] | None], Awaitable[tuple[str, bytes]]]
    """Of what is accepted, and the metrics that are asked for by name, to the kind of the content and the content."""

log = logging.getLogger(__name__)

SCRAPES = 8
"""So many scrapes may be under way at once; one more, and the oldest connection is closed."""

SCRAPE_S = 10.0
"""A scrape may take so long, from its connection to the end of its answer."""

REQUEST_BYTES = 16 * 1024
"""The longest request, its headers included."""

AGAIN_S = 30.0
"""The interval between two tries to listen, while that fails."""

STOP_S = 2.0


class MetricsServer:
    """Serves while it is started."""

    def __init__(self, counters: Counters, answer: Answer) -> None:
        """`answer` is called for each scrape, by the server's thread."""
        self._counters = counters
        self._answer_of = answer
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = threading.Condition()
        self._address: tuple[str, int] | None = None
        self._ends: asyncio.Event | None = None
        self._scrapes: dict[asyncio.Task[Any], None] = {}
        """Under way, oldest first."""

    def start(self, host: str, port: int) -> None:
        """Serve on a name or address of this host, IPv6 without brackets, from a thread; `port` 0 is a free one.

        While it cannot listen there that is counted and logged, and tried again from time to time: the process that
        has the port, such as an earlier monitor, may end. Raise NoThreadError.
        """
        self._thread = start_thread("metrics", partial(self._run, host, port))

    def port(self, seconds: float) -> int:
        """Wait until it serves; return the port, 0 if that took longer."""
        with self._changed:
            self._changed.wait_for(lambda: self._address, seconds)
            return self._address[1] if self._address else 0

    def serves(self) -> tuple[str, int] | None:
        """Return the address and the port; None while it serves on none."""
        return self._address

    def stop(self) -> None:
        """Close the port; `start` may follow."""
        with self._changed:
            self._changed.wait_for(lambda: self._thread is None or self._ends is not None, STOP_S)
            if self._loop and self._ends:
                self._loop.call_soon_threadsafe(self._ends.set)
        if self._thread:
            self._thread.join(STOP_S)
        self._thread = None

    def _run(self, host: str, port: int, pulse: Pulse) -> None:
        asyncio.run(self._serve(host, port, pulse))

    async def _serve(self, host: str, port: int, pulse: Pulse) -> None:
        loop, ends = asyncio.get_running_loop(), asyncio.Event()
        loop.set_exception_handler(self._on_fault)
        with self._changed:
            self._loop, self._ends = loop, ends
            self._changed.notify_all()
        server: asyncio.Server | None = None
        again_s = 0.0
        while not ends.is_set():
            pulse.beat()
            if server is None and time.monotonic() >= again_s:
                server = await self._open(host, port)
                again_s = time.monotonic() + AGAIN_S
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(ends.wait(), min(REST_S, AGAIN_S))
        if server:
            server.close()
        for scrape in self._scrapes:
            scrape.cancel()
        with self._changed:
            self._address, self._loop, self._ends = None, None, None

    async def _open(self, host: str, port: int) -> asyncio.Server | None:
        try:
            family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
            listener = socket.create_server(address[:2], family=family, backlog=SCRAPES)
            server = await asyncio.start_server(self._answer, sock=listener, limit=REQUEST_BYTES)
        except OSError as error:
            hint = f"; who has it: ss -ltnp 'sport = :{port}'" if error.errno == errno.EADDRINUSE else ""
            reason = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
            self._counters.add("metrics_failed")
            log.warning(
                "metrics > listen: cannot serve on %s port %d, tried again in %g s: %s%s",
                host, port, AGAIN_S, reason, hint,
            )  # fmt: skip
            return None
        with self._changed:
            ip, bound = listener.getsockname()[:2]
            self._address = ip, bound
            self._changed.notify_all()
        log.info("metrics on %s port %d", host, bound)
        return server

    def _on_fault(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Count and log a fault outside of a scrape, such as a connection for which no descriptor is left."""
        with passing(self._counters, "metrics_failed", "metrics"):
            raise context.get("exception") or RuntimeError(context["message"])

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer one request within `SCRAPE_S`, or close the connection; of too many the oldest is closed."""
        task = asyncio.current_task()
        assert task  # noqa: S101  this is one
        if len(self._scrapes) >= SCRAPES:
            oldest = next(iter(self._scrapes))
            del self._scrapes[oldest]
            oldest.cancel()
        self._scrapes[task] = None
        try:
            with passing(self._counters, "metrics_failed", "a scrape failed"):
                await self._answered(reader, writer)
        finally:
            self._scrapes.pop(task, None)
            writer.transport.abort()

    async def _answered(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.wait_for(self._exchange(reader, writer), SCRAPE_S)
        except (
            asyncio.TimeoutError,
            asyncio.IncompleteReadError,
            asyncio.LimitOverrunError,
            OSError,
        ) as error:
            log.debug("a scrape failed: %s", type(error).__name__)  # the other side's fault

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        method, target, *_ = [*head.split("\r\n", 1)[0].split(" "), "", ""]
        if method != "GET":
            status, kind, body = "405 Method Not Allowed", "text/plain", b""
        else:
            accept = next(
                (line.partition(":")[2] for line in head.split("\r\n") if line.lower().startswith("accept:")),
                "",
            )
            names = parse_qs(urlsplit(target).query).get("name[]")
            kind, body = await self._answer_of(accept.strip(), names)
            status = "200 OK"
        writer.transport.set_write_buffer_limits(0)  # then `drain` returns only when the kernel has all of it
        writer.write(
            f"HTTP/1.0 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
            "Connection: close\r\n\r\n".encode()
            + body
        )
        await writer.drain()
        writer.write_eof()
        await (
            reader.read()
        )  # until the other side has closed too: what it has not read yet is not taken from it
