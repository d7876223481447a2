# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Metrics that are served, and what a scrape of them gives."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from http.client import HTTPConnection

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from sockbpf.counters import Counters
from sockbpf.monitor.metrics import Metrics
from sockbpf.monitor.standing import Gauges

DEADLINE_S = 30
LOOPBACK = "127.0.0.1"
HISTOGRAM = "sockbpf_crossing_to_delivered_seconds"

GAUGES = Gauges(
    open_episodes=10007,
    journal_depth=2003,
    oldest_undelivered_seconds=17.25,
    owed={"http": 1999, "second": 4},
    breaker_open={"http": True, "second": False},
)


class Standing:
    """What the monitor says of itself; can be changed between scrapes."""

    def __init__(self) -> None:
        self.counters = Counters()
        self.gauges = GAUGES
        self.metrics = Metrics(self.counters, lambda: self.gauges, ["http", "second"])


def served(metrics: Metrics, host: str, port: int) -> int:
    metrics.start(host, port)
    return metrics.port(DEADLINE_S)


def get(host: str, port: int, path: str = "/metrics", accept: str = "text/plain") -> str:
    with closing(HTTPConnection(host, port, timeout=DEADLINE_S)) as connection:
        connection.request("GET", path, headers={"Accept": accept})
        answer = connection.getresponse()
        text = answer.read().decode()
        assert answer.status == 200, text
        assert answer.headers.get_content_type() == accept.partition(";")[0]
        return text


def scrape(port: int, host: str = LOOPBACK) -> dict[str, Metric]:
    families = text_string_to_metric_families(get(host, port))
    return {family.name: family for family in families if not family.name.endswith("_created")}


def observed(family: Metric, destination: str) -> Mapping[str, float]:
    """Return the cumulative count of each bucket, by its upper bound, and the count and sum of all."""
    return {
        sample.labels.get("le", sample.name.removeprefix(f"{HISTOGRAM}_")): sample.value
        for sample in family.samples
        if sample.labels["destination"] == destination and not sample.name.endswith("_created")
    }
