# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The metrics for Prometheus: which there are, from where their values come, and what of them is asked for.

Imported only where it is configured.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder

from sockbpf.counters import NAMES, Counters
from sockbpf.monitor.metric_families import BY_DESTINATION, of_counters, of_gauges, of_queues, of_watching
from sockbpf.monitor.metrics_server import MetricsServer
from sockbpf.monitor.standing import Gauges

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from prometheus_client import Metric

    from sockbpf.monitor.service_looks import ServiceLooks
    from sockbpf.monitor.standing import Watching

BUCKETS_S = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 600,
)  # fmt: skip
"""From a receiver on this host that is quick to one that was down for a while."""

LOOK_S = 2.0
"""So long a scrape waits for a look at the queues; then it shows what an earlier one saw, if that is not old."""

MOST_OF_ID = 64
"""An exemplar has room for 128 characters; an episode's id has 16."""


class _Delivery:
    """Collects, at each scrape, the counters and gauges that the monitor's parts keep."""

    def __init__(self, counters: Counters, gauges: Callable[[], Gauges]) -> None:
        self._counters = counters
        self._gauges = gauges

    def describe(self) -> Iterator[Metric]:
        """Return the names that `collect` returns, without values: the monitor's parts may not be there yet."""
        yield from of_counters(dict.fromkeys(NAMES, 0), {}, ())
        yield from of_gauges(Gauges(0, 0, 0.0, {}, {}))

    def collect(self) -> Iterator[Metric]:
        now = self._gauges()
        yield from of_counters(self._counters.snapshot(), self._counters.by_destination(), now.owed)
        yield from of_gauges(now)


class _Sockets:
    """Collects, at each scrape, what the monitor watches by and what its last look at the queues saw."""

    def __init__(self, watching: Callable[[], Watching], looks: ServiceLooks) -> None:
        self._watching = watching
        self._looks = looks

    def describe(self) -> Iterator[Metric]:
        yield from of_watching(None)
        yield from of_queues(None)

    def collect(self) -> Iterator[Metric]:
        yield from of_watching(self._watching())
        yield from of_queues(self._looks.latest())


class Metrics:
    """The registry, and the server that shows it while it is started."""

    def __init__(
        self, counters: Counters, gauges: Callable[[], Gauges], destinations: Iterable[str] = ()
    ) -> None:
        """Make the registry; `gauges` is called at each scrape, from another thread."""
        self._registry = CollectorRegistry()
        self._registry.register(_Delivery(counters, gauges))
        ProcessCollector(registry=self._registry)
        self._delivered = Histogram(
            "sockbpf_crossing_to_delivered_seconds",
            "from an alert's timestamp (of exceeded: the crossing, so hold and fold count) to its delivery",
            BY_DESTINATION,
            buckets=BUCKETS_S,
            registry=self._registry,
        )
        for destination in destinations:
            self._delivered.labels(destination)
        self._counters = counters
        self._looks: ServiceLooks | None = None
        self._server = MetricsServer(counters, self._answer)
        self.start, self.stop = self._server.start, self._server.stop
        self.port, self.serves = self._server.port, self._server.serves

    def show(self, watching: Callable[[], Watching], looks: ServiceLooks) -> None:
        """Show from now on what the monitor watches by, and the queues; both are asked at each scrape."""
        self._registry.register(_Sockets(watching, looks))
        self._looks = looks

    def delivered(self, destination: str, seconds: float, id_: str = "") -> None:
        """Take note of a delivery, so long after the alert's `timestamp`, of an episode; from any thread."""
        exemplar = {"id": id_[:MOST_OF_ID]} if id_ else None
        # Unix time can be set back.
        self._delivered.labels(destination).observe(max(seconds, 0.0), exemplar)

    def collected(self) -> list[Metric]:
        """Return all metrics of this moment; waits for a look at the queues, as a scrape does, up to `LOOK_S`."""
        if self._looks:
            done = self._looks.begin()
            if not wait([done], LOOK_S).done and not self._looks.latest():
                self._counters.add("service_looks_failed")
        return list(self._registry.collect())

    async def _answer(self, accept: str, names: list[str] | None) -> tuple[str, bytes]:
        if self._looks:
            done = asyncio.wrap_future(self._looks.begin())
            await asyncio.wait([done], timeout=LOOK_S)
            if not done.done() and not self._looks.latest():
                self._counters.add("service_looks_failed")
        encode, kind = choose_encoder(accept)
        # mypy: the package says nothing of this method
        registry: Any = self._registry
        return kind, encode(registry.restricted_registry(names) if names else registry)
