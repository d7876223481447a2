# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The metrics for Prometheus: every counter, how many episodes are open and alerts owed, how late alerts arrive.

Imported only where it is configured. Labels are names of destinations, never their addresses: those can be secret.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import os
import socket
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from prometheus_client import CollectorRegistry, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder

from sockbpf.counters import NAMES, Counters
from sockbpf.process.life import REST_S, passing, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from prometheus_client import Metric

    from sockbpf.process.life import Pulse

log = logging.getLogger(__name__)

BUCKETS_S = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600,
)  # fmt: skip
"""From a receiver on this host that is quick to one that was down for a while."""

SCRAPES = 8
"""So many scrapes may be under way at once; one more, and the oldest connection is closed."""

SCRAPE_S = 10.0
"""A scrape may take so long, from its connection to the end of its answer."""

REQUEST_BYTES = 16 * 1024
"""The longest request, its headers included."""

AGAIN_S = 30.0
"""The interval between two tries to listen, while that fails."""

STOP_S = 2.0


@dataclass(frozen=True, slots=True)
class Gauges:
    """The values of this moment; `owed` and `breaker_open` by the name of the destination."""

    open_episodes: int
    journal_depth: int
    oldest_undelivered_seconds: float
    """How long ago the oldest alert that is still owed was made; 0 if none is."""
    owed: Mapping[str, int]
    breaker_open: Mapping[str, bool]


class _Now:
    """Collects, at each scrape, the counters and gauges that the monitor's parts keep."""

    def __init__(self, counters: Counters, gauges: Callable[[], Gauges]) -> None:
        self._counters = counters
        self._gauges = gauges

    def describe(self) -> Iterator[Metric]:
        """Return the names that `collect` returns, without values: the monitor's parts may not be there yet."""
        return _families(dict.fromkeys(NAMES, 0), Gauges(0, 0, 0.0, {}, {}))

    def collect(self) -> Iterator[Metric]:
        return _families(self._counters.snapshot(), self._gauges())


def _families(counts: Mapping[str, int], now: Gauges) -> Iterator[Metric]:
    for name, text in NAMES.items():
        yield CounterMetricFamily(f"sockbpf_{name}", text, value=counts[name])
    for name, text, value in (
        ("open_episodes", "queues that are over now, those held back included", now.open_episodes),
        ("journal_depth", "alerts owed, over all destinations", now.journal_depth),
        (
            "oldest_undelivered_seconds",
            "how long ago the oldest alert that is still owed was made, 0 if none is",
            now.oldest_undelivered_seconds,
        ),
    ):
        yield GaugeMetricFamily(f"sockbpf_{name}", text, value=value)
    for name, text, values in (
        ("owed", "alerts that the destination is owed", now.owed),
        (
            "breaker_open",
            "1 while the destination is taken for dead: one request at a time, after pauses",
            now.breaker_open,
        ),
    ):
        family = GaugeMetricFamily(f"sockbpf_{name}", text, labels=["destination"])
        for destination, value in values.items():
            family.add_metric([destination], value)
        yield family


class Metrics:
    """The registry, and the server that shows it while it is started."""

    def __init__(
        self, counters: Counters, gauges: Callable[[], Gauges], destinations: Iterable[str] = ()
    ) -> None:
        """Make the registry; `gauges` is called at each scrape, from another thread."""
        self._registry = CollectorRegistry()
        self._registry.register(_Now(counters, gauges))
        self._delivered = Histogram(
            "sockbpf_crossing_to_delivered_seconds",
            "from an alert's timestamp (of exceeded: the crossing, so hold and fold count) to its delivery",
            ["destination"],
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        for destination in destinations:
            self._delivered.labels(destination)
        self._counters = counters
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._changed = threading.Condition()
        self._address: tuple[str, int] | None = None
        self._ends: asyncio.Event | None = None
        self._scrapes: dict[asyncio.Task[Any], None] = {}
        """Under way, oldest first."""

    def delivered(self, destination: str, seconds: float) -> None:
        """Take note of a delivery, so long after the alert's `timestamp`; from any thread."""
        self._delivered.labels(destination).observe(max(seconds, 0.0))  # Unix time can be set back

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
            encode, kind = choose_encoder(accept.strip())
            names = parse_qs(urlsplit(target).query).get("name[]")
            # mypy: the package says nothing of this method
            registry: Any = self._registry
            status, body = "200 OK", encode(registry.restricted_registry(names) if names else registry)
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
