# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The store's counters, for Prometheus."""

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
"""Counters that `life` keeps in each of our processes."""


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
            "kept": ("Entries written to disk since the start.", writer.kept),
            "duplicates": ("Alerts that came once more, and were stored already.", writer.duplicates),
            "commits": ("Transactions committed.", writer.commits),
            "refused": ("Requests refused because too many entries waited to be written.", writer.refused),
            "refused_rows": ("Alerts of batches refused because they made no sense.", store.refused_rows),
            "not_kept": ("Entries that the database refused; the sender got an error.", writer.not_kept),
            "crowded_out": (
                "Oldest entries deleted because the file has its greatest size.",
                writer.crowded_out,
            ),
            "history_crowded_out": (
                "Oldest rows of the history deleted because the file has its greatest size.",
                writer.history_crowded_out,
            ),
            "shed": ("Connections closed to make room for new ones.", store.crowd.shed),
            "turned_away": ("New connections closed because there was no room.", store.crowd.turned_away),
            "set_aside": ("Damaged database files that were renamed and replaced.", database.set_aside),
            "salvaged": ("Entries copied from damaged files into the new one.", upkeep.copied),
            "left_out": ("Entries of damaged files not copied because they were altered.", upkeep.left_out),
            "altered": ("Rows deleted because they were not as they were written.", store.altered),
            "deleted": ("Entries deleted because of their age.", upkeep.deleted),
            "upkeep_failures": ("Attempts to delete or to copy entries that failed.", upkeep.failures),
        }
        shown |= {name: (counters.NAMES[name], counts[name]) for name in (*OF_EVERY_PROCESS, "log_dropped")}
        for name, (text, value) in shown.items():
            yield CounterMetricFamily(f"sockbpf_store_{name}", text, value)
        yield GaugeMetricFamily("sockbpf_store_waiting", "Entries that wait to be written.", writer.waiting)
        yield GaugeMetricFamily("sockbpf_store_connections", "Open connections.", len(store.crowd))
        yield GaugeMetricFamily(
            "sockbpf_store_connections_in_line", "Those that wait for a place.", store.crowd.in_line
        )
        yield GaugeMetricFamily("sockbpf_store_listeners", "Open streams.", feed.listeners if feed else 0)
        broken = writer.broken
        since_s = time.time() - broken.since_s if broken else 0.0
        yield GaugeMetricFamily(
            "sockbpf_store_broken_seconds",
            "Seconds since the database takes no entries, 0 while it does.",
            since_s,
        )
