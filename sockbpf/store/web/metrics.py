# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What Prometheus may ask of the store."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from sockbpf import counters

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from prometheus_client.core import Metric

    from sockbpf.store.web.running_store import RunningStore


OF_EVERY_PROCESS = ("late", "ignored")
"""What is counted for any of our processes, by `life`."""


class StoreMetrics(Collector):
    """Reads the store's counters when it is asked."""

    def __init__(
        self, store: RunningStore, counted: counters.Counters, lines_dropped: Callable[[], int]
    ) -> None:
        self._store = store
        self._counted = counted
        self._lines_dropped = lines_dropped

    def collect(self) -> Iterator[Metric]:
        store = self._store
        writer, feed, upkeep, database = store.writer, store.feed, store.upkeep, store.database
        counts = self._counted.snapshot() | {"log_dropped": self._lines_dropped()}
        shown = {
            "kept": ("Entries on disk since the start.", writer.kept),
            "duplicates": ("Alerts that were there already.", writer.duplicates),
            "commits": ("Transactions.", writer.commits),
            "refused": ("Requests sent away: busy.", writer.refused),
            "not_kept": ("Entries that the database did not take; who sent them was told.", writer.not_kept),
            "crowded_out": (
                "Oldest entries deleted, for the file is as large as it may be.",
                writer.crowded_out,
            ),
            "shed": ("Connections closed to make room for others.", store.crowd.shed),
            "turned_away": ("Connections for which there was no room.", store.crowd.turned_away),
            "set_aside": ("Database files that made no sense and were set aside.", database.set_aside),
            "salvaged": ("Entries copied from such files.", upkeep.copied),
            "left_out": ("Entries of such files that were altered.", upkeep.left_out),
            "altered": ("Rows that were not as they were written, and were deleted.", store.altered),
            "deleted": ("Entries deleted for their age.", upkeep.deleted),
            "upkeep_failures": ("Rounds of deleting and copying that failed.", upkeep.failures),
        }
        shown |= {name: (counters.NAMES[name], counts[name]) for name in (*OF_EVERY_PROCESS, "log_dropped")}
        for name, (text, value) in shown.items():
            yield CounterMetricFamily(f"sockbpf_store_{name}", text, value)
        yield GaugeMetricFamily(
            "sockbpf_store_waiting", "Entries that wait for their commit.", writer.waiting
        )
        yield GaugeMetricFamily("sockbpf_store_connections", "Open connections.", len(store.crowd))
        yield GaugeMetricFamily("sockbpf_store_listeners", "Open streams.", feed.listeners if feed else 0)
        broken = writer.broken
        since_s = time.time() - broken.since_s if broken else 0.0
        yield GaugeMetricFamily(
            "sockbpf_store_broken_seconds", "Since when nothing is kept, 0 if it is.", since_s
        )
