# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the metrics say: every counter with its help, how it stands now, how late deliveries are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest
from prometheus_client import Metric

from sockbpf.counters import LOSSES, NAMES, Counters
from sockbpf.monitor.metrics import BUCKETS_S, Metrics
from tests.unit.scrapes import GAUGES, HISTOGRAM, LOOPBACK, Standing, get, observed, scrape, served


@pytest.fixture
def standing() -> Iterator[Standing]:
    made = Standing()
    yield made
    made.metrics.stop()


def values(family: Metric) -> dict[str, float]:
    """Return the only sample's value by its name, or one for each destination."""
    return {sample.labels.get("destination", sample.name): sample.value for sample in family.samples}


def test_every_counter_is_shown_with_its_help(standing: Standing) -> None:
    for number, name in enumerate(NAMES):
        standing.counters.set(name, 1009 * number)
    shown = scrape(served(standing.metrics, LOOPBACK, 0))
    for number, (name, text) in enumerate(NAMES.items()):
        family = shown.pop(f"sockbpf_{name}")
        assert (family.type, family.documentation) == ("counter", text)
        assert values(family) == {f"sockbpf_{name}_total": 1009 * number}
    assert {name for name, family in shown.items() if family.type == "counter"} == set()


def test_counters_are_those_of_the_moment(standing: Standing) -> None:
    port = served(standing.metrics, LOOPBACK, 0)
    for total in (0, 7, 14):
        assert values(scrape(port)["sockbpf_held_back"]) == {"sockbpf_held_back_total": total}
        standing.counters.add("held_back", 7)


def test_gauges_say_how_it_stands_at_each_scrape(standing: Standing) -> None:
    port = served(standing.metrics, LOOPBACK, 0)
    shown = scrape(port)
    assert {name: values(family) for name, family in shown.items() if family.type == "gauge"} == {
        "sockbpf_open_episodes": {"sockbpf_open_episodes": 10007},
        "sockbpf_journal_depth": {"sockbpf_journal_depth": 2003},
        "sockbpf_oldest_undelivered_seconds": {"sockbpf_oldest_undelivered_seconds": 17.25},
        "sockbpf_owed": {"http": 1999, "second": 4},
        "sockbpf_breaker_open": {"http": 1, "second": 0},
    }
    assert all(family.documentation for family in shown.values())
    standing.gauges = replace(GAUGES, open_episodes=0, owed={})
    shown = scrape(port)
    assert values(shown["sockbpf_open_episodes"]) == {"sockbpf_open_episodes": 0}
    assert shown["sockbpf_owed"].samples == []


def test_a_delivery_counts_in_every_bucket_that_it_was_quick_enough_for(standing: Standing) -> None:
    port = served(standing.metrics, LOOPBACK, 0)
    for seconds in (0.0004, 0.003, 0.003, 599, 601, -3):
        standing.metrics.delivered("http", seconds)
    family = scrape(port)[HISTOGRAM]
    assert family.type == "histogram"
    expected = {0.0005: 2, 0.001: 2, 0.0025: 2} | {bound: 4 for bound in BUCKETS_S if 0.005 <= bound <= 300}
    buckets = {str(float(bound)): count for bound, count in expected.items()}
    assert observed(family, "http") == buckets | {
        "600.0": 5, "+Inf": 6, "count": 6, "sum": pytest.approx(1200.0064),
    }  # fmt: skip
    assert observed(family, "second")["count"] == 0


def test_a_destination_that_came_later_has_its_own(standing: Standing) -> None:
    standing.metrics.delivered("third", 0.1)
    family = scrape(served(standing.metrics, LOOPBACK, 0))[HISTOGRAM]
    assert observed(family, "third")["count"] == 1


def test_a_single_metric_can_be_asked_for(standing: Standing) -> None:
    standing.counters.add("alerts", 17)
    text = get(LOOPBACK, served(standing.metrics, LOOPBACK, 0), "/metrics?name[]=sockbpf_alerts_total")
    assert "sockbpf_alerts_total 17.0" in text


def test_labels_are_names_of_destinations_and_bounds_alone(standing: Standing) -> None:
    shown = scrape(served(standing.metrics, LOOPBACK, 0))
    labels = {
        pair for family in shown.values() for sample in family.samples for pair in sample.labels.items()
    }
    bounds = {("le", str(float(bound))) for bound in (*BUCKETS_S, float("inf"))}
    bounds = {(name, bound.replace("inf", "+Inf")) for name, bound in bounds}
    assert labels == {("destination", "http"), ("destination", "second")} | bounds


def test_nothing_else_of_the_process_is_shown(standing: Standing) -> None:
    shown = scrape(served(standing.metrics, LOOPBACK, 0))
    assert all(name.startswith("sockbpf_") for name in shown)


def test_every_loss_is_a_counter() -> None:
    assert set(LOSSES) <= set(NAMES)
    assert {"given_up", "journal_failed", "dropped"} <= set(LOSSES)
    assert not {"held_back", "folded", "heartbeats", "recovered_owed"} & set(LOSSES)


def test_nobody_is_asked_how_it_stands_before_somebody_wants_to_know() -> None:
    asked: list[int] = []
    made = Metrics(Counters(), lambda: asked.append(1) or GAUGES)  # type: ignore[func-returns-value]
    try:
        port = served(made, LOOPBACK, 0)
        assert not asked
        scrape(port)
        assert asked == [1]
    finally:
        made.stop()
