"""What Prometheus may ask: every counter, what is open and owed now, and how late alerts arrive.

Imported only where it is configured. Labels are names of destinations, never their addresses: those can be secret.
"""

from __future__ import annotations

import errno
import logging
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from sockbpf.counters import NAMES, Counters
from sockbpf.errors import SockbpfError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from socket import socket
    from wsgiref.simple_server import WSGIServer

    from prometheus_client import Metric

log = logging.getLogger(__name__)

BUCKETS_S = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600,
)  # fmt: skip
"""From a receiver on this host that is quick to one that was down for a while."""

SCRAPES = 8
"""As many may be under way at once; more are hung up on."""

SCRAPE_S = 10.0
"""How long a scraper may keep its thread waiting."""


@dataclass(frozen=True, slots=True)
class Gauges:
    """How it stands now; `owed` and `breaker_open` by the name of the destination."""

    open_episodes: int
    journal_depth: int
    oldest_undelivered_seconds: float
    """How long ago the oldest alert that is still owed was made; 0 if none is."""
    owed: Mapping[str, int]
    breaker_open: Mapping[str, bool]


class _Now:
    """Collects, at each scrape, what is kept elsewhere."""

    def __init__(self, counters: Counters, gauges: Callable[[], Gauges]) -> None:
        self._counters = counters
        self._gauges = gauges

    def describe(self) -> Iterator[Metric]:
        """Name what `collect` returns, without asking anybody: the monitor may not be put together yet."""
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
        ("breaker_open", "1 while the destination is taken for dead and only probed", now.breaker_open),
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
        """Make ready to be asked; `gauges` is called at each scrape, from another thread."""
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
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None

    def delivered(self, destination: str, seconds: float) -> None:
        """Take note of a delivery, so long after the alert's `timestamp`; from any thread."""
        self._delivered.labels(destination).observe(max(seconds, 0.0))  # Unix time can be set back

    def start(self, host: str, port: int) -> int:
        """Serve on a name or address of this host, IPv6 without brackets; return the port, a free one for 0.

        Raise SockbpfError if it cannot be had. Its exit code is 1, not 2: the file is not at fault, it works as it
        is once whoever has the port lets go of it, as an earlier monitor does in a moment; so trying again helps.
        """
        try:
            self._server, self._thread = start_http_server(port, host, self._registry)
        except OSError as error:
            who = f"; who has it: ss -ltnp 'sport = :{port}'" if error.errno == errno.EADDRINUSE else ""
            raise SockbpfError(
                f"metrics > listen: cannot serve on {host} port {port}: {error.strerror or error}{who}"
            ) from None
        self._server.RequestHandlerClass = _limited(self._server.RequestHandlerClass)
        bound = self._server.server_port
        log.info("metrics on %s port %d", host, bound)
        return bound

    def stop(self) -> None:
        """Free the port; it can be started again."""
        if self._server and self._thread:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
        self._server = self._thread = None


def _limited(handler: Callable[..., Any]) -> Callable[..., Any]:
    """Let no scraper keep a thread for good, nor all of them together very many."""
    free = threading.BoundedSemaphore(SCRAPES)

    def handle(request: socket, *rest: object) -> None:
        if not free.acquire(blocking=False):
            return
        try:
            request.settimeout(SCRAPE_S)
            handler(request, *rest)
        except OSError as error:
            log.debug("a scrape failed: %s", error)
        finally:
            free.release()

    return handle
