# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the metrics say: every counter with its help, how it stands now, how late deliveries are."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace

import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics

from sockbpf.counters import LOSSES, MOST_DESTINATIONS, NAMES, Counters
from sockbpf.judge.services import Key, Sums
from sockbpf.monitor import metrics
from sockbpf.monitor.metric_families import OF_DESTINATIONS
from sockbpf.monitor.metrics import BUCKETS_S, Metrics
from sockbpf.monitor.standing import Watching
from sockbpf.record.event import Direction, Protocol
from tests.unit.scrapes import GAUGES, HISTOGRAM, LOOPBACK, Standing, get, observed, scrape, served

OF_PROCESS = {
    *("virtual_memory_bytes", "resident_memory_bytes", "start_time_seconds", "cpu_seconds"),
    *("open_fds", "max_fds"),
}


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
    others = {name for name, family in shown.items() if family.type == "counter"}
    assert others == {f"sockbpf_destination_{name}" for name in OF_DESTINATIONS} | {"process_cpu_seconds"}


def test_counters_are_those_of_the_moment(standing: Standing) -> None:
    port = served(standing.metrics, LOOPBACK, 0)
    for total in (0, 7, 14):
        assert values(scrape(port)["sockbpf_held_back"]) == {"sockbpf_held_back_total": total}
        standing.counters.add("held_back", 7)


def test_gauges_say_how_it_stands_at_each_scrape(standing: Standing) -> None:
    port = served(standing.metrics, LOOPBACK, 0)
    shown = scrape(port)
    gauges = {name: values(family) for name, family in shown.items() if family.type == "gauge"}
    assert {name: its for name, its in gauges.items() if not name.startswith("process_")} == {
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


def test_of_the_process_is_shown_what_every_exporter_shows(standing: Standing) -> None:
    shown = scrape(served(standing.metrics, LOOPBACK, 0))
    others = {name: family for name, family in shown.items() if not name.startswith("sockbpf_")}
    assert others.keys() == {f"process_{name}" for name in OF_PROCESS}
    (started,) = others["process_start_time_seconds"].samples
    assert 0 <= time.time() - started.value < 3600


def test_what_a_destination_took_refused_and_was_tried_for_again_is_its_own(standing: Standing) -> None:
    for name, number in (("delivered", 5), ("retried", 3), ("given_up", 2)):
        standing.counters.add(name, number, "second")
        standing.counters.add(name, 100)
    shown = scrape(served(standing.metrics, LOOPBACK, 0))
    for name, number in (("delivered", 5), ("retried", 3), ("given_up", 2)):
        assert values(shown[f"sockbpf_destination_{name}"]) == {"http": 0, "second": number}
        assert values(shown[f"sockbpf_{name}"]) == {f"sockbpf_{name}_total": 100 + number}


def test_of_very_many_destinations_the_last_are_counted_as_one() -> None:
    counters = Counters()
    for number in range(MOST_DESTINATIONS + 7):
        counters.add("retried", 2, f"d{number}")
    counted = counters.by_destination()
    assert len(counted) == MOST_DESTINATIONS + 1
    assert counted["other"]["retried"] == 14


def test_a_delivery_names_its_episode_as_an_exemplar(standing: Standing) -> None:
    standing.metrics.delivered("http", 0.003, "8b9c1d2e3f405162")
    standing.metrics.delivered("http", 0.2, "x" * 1000)
    port = served(standing.metrics, LOOPBACK, 0)
    text = get(LOOPBACK, port, accept="application/openmetrics-text; version=1.0.0")
    exemplars = {
        sample.labels["le"]: sample.exemplar
        for family in openmetrics(text)  # type: ignore[no-untyped-call]
        for sample in family.samples
        if sample.exemplar
    }
    assert exemplars["0.005"].labels == {"id": "8b9c1d2e3f405162"}
    assert exemplars["0.005"].value == 0.003
    assert exemplars["0.25"].labels == {"id": "x" * 64}
    assert len(exemplars) == 2


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


SUMS = {
    (Protocol.TCP, Direction.RECV, "web.service"): Sums(30_011, 0, 2, 0.75, stalled=1, open=2),
    (Protocol.UDP, Direction.RECV, "53"): Sums(7, 0, 1, 1.0, drops=1009),
    (Protocol.TCP, Direction.ACCEPT, "web.service"): Sums(6, 5, 1, 1.2, open=1, drops=3),
}
WATCHING = Watching("1.2.3", "6.1.0", "poll", {"all": True}, 5.0, is_blind=True, silences=2)


@dataclass
class Looks:
    """Looks that have ended, or never do, since the last one or ever."""

    done: Future[None]
    is_first: bool = True

    def begin(self) -> Future[None]:
        return self.done

    def latest(self) -> tuple[Mapping[Key, Sums], int] | None:
        return (SUMS, 17) if self.done.done() or not self.is_first else None


def shown_of(standing: Standing) -> dict[str, dict[tuple[str, ...], float]]:
    """Return the values of each family by the values of its labels."""
    shown = scrape(served(standing.metrics, LOOPBACK, 0))
    return {
        name: {tuple(sample.labels.values()): sample.value for sample in family.samples}
        for name, family in shown.items()
    }


def test_queues_are_shown_by_service(standing: Standing) -> None:
    done: Future[None] = Future()
    done.set_result(None)
    standing.metrics.show(lambda: WATCHING, Looks(done))  # type: ignore[arg-type]
    shown = shown_of(standing)
    web, dns, accepts = (
        ("RECV", "tcp", "web.service"),
        ("RECV", "udp", "53"),
        ("ACCEPT", "tcp", "web.service"),
    )
    assert shown["sockbpf_queue_bytes"] == {web: 30_011, dns: 7}
    assert shown["sockbpf_queue_sockets"] == {web: 2, dns: 1}
    assert shown["sockbpf_queue_fill_ratio"] == {web: 0.75, dns: 1}
    assert shown["sockbpf_queue_stalled"] == {web: 1, dns: 0, accepts: 0}
    assert shown["sockbpf_queue_open_episodes"] == {web: 2, dns: 0, accepts: 1}
    assert shown["sockbpf_queue_drops"] == {dns: 1009}
    for name, value in (("connections", 6), ("backlog", 5), ("fill_ratio", 1.2), ("drops", 3)):
        assert shown[f"sockbpf_accept_queue_{name}"] == {("web.service",): value}
    assert shown["sockbpf_services_unnamed"] == {(): 17}
    assert shown["sockbpf_build_info"] == {("6.1.0", "1.2.3"): 1}
    assert shown["sockbpf_mode"] == {("ebpf",): 0, ("poll",): 1}
    assert shown["sockbpf_hooks_missing"] == {("all",): 1}
    assert abs(time.time() - 5 - shown["sockbpf_last_look_timestamp_seconds"][()]) < 60
    assert (shown["sockbpf_blind"], shown["sockbpf_silences"]) == ({(): 1}, {(): 2})


def test_a_look_that_hangs_is_counted_and_the_rest_is_shown(
    standing: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "LOOK_S", 0.01)
    standing.metrics.show(lambda: WATCHING, Looks(Future()))  # type: ignore[arg-type]
    shown = shown_of(standing)
    assert shown["sockbpf_queue_bytes"] == shown["sockbpf_services_unnamed"] == {}
    assert shown["sockbpf_open_episodes"] == {(): 10007}
    assert shown["sockbpf_service_looks_failed"] == {(): 1}


def test_a_look_that_is_late_is_not_counted_while_an_earlier_one_is_to_show(
    standing: Standing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(metrics, "LOOK_S", 0.01)
    looks = Looks(Future(), is_first=False)
    standing.metrics.show(lambda: WATCHING, looks)  # type: ignore[arg-type]
    shown = shown_of(standing)
    assert shown["sockbpf_services_unnamed"] == {(): 17}
    assert shown["sockbpf_service_looks_failed"] == {(): 0}
