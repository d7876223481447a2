"""What Prometheus may ask of the store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client.core import Metric

    from sockbpf.store.app import Store


class StoreMetrics(Collector):
    """Reads the store's counters when it is asked."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def collect(self) -> Iterator[Metric]:
        writer, feed = self._store.writer, self._store.feed
        yield CounterMetricFamily("sockbpf_store_kept", "Entries on disk since the start.", writer.kept)
        yield CounterMetricFamily(
            "sockbpf_store_duplicates", "Alerts that were there already.", writer.duplicates
        )
        yield CounterMetricFamily("sockbpf_store_commits", "Transactions.", writer.commits)
        yield CounterMetricFamily("sockbpf_store_refused", "Requests sent away: busy.", writer.refused)
        yield GaugeMetricFamily(
            "sockbpf_store_waiting", "Entries that wait for their commit.", writer.waiting
        )
        yield GaugeMetricFamily("sockbpf_store_listeners", "Open streams.", feed.listeners if feed else 0)
