# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The metrics by OTLP: what a receiver decodes is what a scrape shows, each interval, and failures are counted."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)
from prometheus_client import Metric
from prometheus_client.core import InfoMetricFamily

from sockbpf import __version__
from sockbpf.delivery.destinations.otlp_metrics import metrics_request
from sockbpf.delivery.destinations.otlp_names import SCHEMA
from sockbpf.monitor.metrics_out import MetricsOut
from sockbpf.monitor.metrics_push import MetricsPush
from sockbpf.settings.config import Config
from sockbpf.settings.destinations import OtlpSettings
from tests.unit.otlp_receiver import Answered, Received, attributes, receiver
from tests.unit.scrapes import GAUGES, LOOPBACK, Standing, scrape, served

DEADLINE_S = 60
CUMULATIVE = 2


def until(condition: Callable[[], Any]) -> None:
    end_s = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end_s
        time.sleep(0.01)


def flat(metric: Any) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return what Prometheus would show of a metric: the samples by name and labels."""
    kind = metric.WhichOneof("data")
    found: dict[tuple[str, frozenset[tuple[str, str]]], float] = {}
    for point in getattr(metric, kind).data_points:
        labels = attributes(point.attributes)
        if kind == "histogram":
            below = 0
            bounds = [*(str(bound) for bound in point.explicit_bounds), "+Inf"]
            for bound, count in zip(bounds, point.bucket_counts, strict=True):
                below += count
                found[f"{metric.name}_bucket", frozenset({**labels, "le": bound}.items())] = below
            found[f"{metric.name}_count", frozenset(labels.items())] = point.count
            found[f"{metric.name}_sum", frozenset(labels.items())] = point.sum
        else:
            name = f"{metric.name}_total" if kind == "sum" and metric.sum.is_monotonic else metric.name
            found[name, frozenset(labels.items())] = getattr(point, point.WhichOneof("value"))
    return found


def metrics_of(message: Any) -> dict[str, Any]:
    (of_host,) = message.resource_metrics
    (scope,) = of_host.scope_metrics
    return {metric.name: metric for metric in scope.metrics}


def test_a_receiver_has_what_a_scrape_shows() -> None:
    standing = Standing()
    standing.counters.add("alerts", 10007)
    standing.counters.add("delivered", 17, "second")
    for seconds in (0.0004, 0.003, 599, 601):
        standing.metrics.delivered("http", seconds)
    try:
        shown = scrape(served(standing.metrics, LOOPBACK, 0))
        sent = metrics_request(standing.metrics.collected(), "web1", {"dc": "fra1"}, start_ns=7, now_ns=11)
    finally:
        standing.metrics.stop()
    message = ExportMetricsServiceRequest.FromString(sent)
    (of_host,) = message.resource_metrics
    assert attributes(of_host.resource.attributes) == {
        "host.name": "web1", "os.type": "linux", "service.name": "sockbpf", "service.version": __version__,
        "dc": "fra1",
    }  # fmt: skip
    assert of_host.schema_url == SCHEMA
    metrics = metrics_of(message)
    assert metrics.keys() == {name for name, family in shown.items() if family.samples}
    for name, metric in metrics.items():
        expected = {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for sample in shown[name].samples
            if not sample.name.endswith("_created")
        }
        found = flat(metric)
        if name.startswith("process_"):
            assert found.keys() == expected.keys()
        else:
            assert found == expected
        assert metric.description == shown[name].documentation
        data = getattr(metric, metric.WhichOneof("data"))
        if metric.WhichOneof("data") != "gauge":
            assert data.aggregation_temporality == CUMULATIVE
            assert {point.start_time_unix_nano for point in data.data_points} == {7}
        assert {point.time_unix_nano for point in data.data_points} == {11}
    assert metrics["sockbpf_alerts"].sum.data_points[0].as_int == 10007
    assert metrics["sockbpf_oldest_undelivered_seconds"].gauge.data_points[0].as_double == 17.25
    assert metrics["sockbpf_crossing_to_delivered_seconds"].unit == "s"
    assert metrics["process_resident_memory_bytes"].unit == "By"


def test_an_info_is_a_sum_that_may_fall() -> None:
    family = InfoMetricFamily("sockbpf_build", "x", {"version": "1", "kernel": "6.1"})
    message = ExportMetricsServiceRequest.FromString(metrics_request([family], "h", {}, start_ns=1, now_ns=2))
    metric = metrics_of(message)["sockbpf_build_info"]
    assert not metric.sum.is_monotonic
    assert flat(metric) == {("sockbpf_build_info", frozenset({("version", "1"), ("kernel", "6.1")})): 1}


def its_settings(url: str, every_s: float = 0.05, **keys: Any) -> OtlpSettings:
    its = OtlpSettings.model_validate({"url": url, "timeout": "5s", **keys})
    return its.model_copy(update={"metrics": every_s})  # the settings themselves allow no less than a second


@contextmanager
def pushed(
    answer: Callable[[int], Answered], collected: Callable[[], list[Metric]]
) -> Iterator[tuple[Received, Standing]]:
    standing = Standing()
    with receiver(answer) as received:
        push = MetricsPush(its_settings(received.url), collected, standing.counters, 7)
        try:
            yield received, standing
        finally:
            push.stop()


def test_they_are_sent_again_and_again() -> None:
    standing = Standing()
    with pushed(lambda _: Answered(), standing.metrics.collected) as (received, _):
        until(lambda: len(received.messages) >= 2)
        standing.counters.add("alerts", 3)
        before = len(received.messages)
        until(lambda: len(received.messages) >= before + 2)
    values = [metrics_of(each)["sockbpf_alerts"].sum.data_points[0] for each in received.messages]
    assert (values[0].as_int, values[-1].as_int) == (0, 3)
    assert {each.start_time_unix_nano for each in values} == {7}
    instants = [each.time_unix_nano for each in values]
    assert instants == sorted(set(instants))
    assert set(received.paths) == {"/v1/metrics"}


def test_failures_are_counted_and_the_next_sending_has_the_sums(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    standing = Standing()

    def answer(number: int) -> Answered:
        return Answered(500 if number < 3 else 200)

    with pushed(answer, standing.metrics.collected) as (received, its):
        until(lambda: len(received.messages) >= 5)
    assert its.counters.snapshot()["metrics_failed"] == 3
    said = [each.getMessage() for each in caplog.records if each.levelno >= logging.INFO]
    assert said == [
        f"the metrics could not be sent to otlp: POST {received.url}/v1/metrics: answered 500",
        "the metrics are sent to otlp again",
    ]


def test_a_receiver_that_asks_to_be_left_alone_is() -> None:
    asked_s: list[float] = []

    def busy(_: object) -> Answered:
        asked_s.append(time.monotonic())
        return Answered(503, headers={"Retry-After": "1"})

    with pushed(busy, Standing().metrics.collected):
        until(lambda: len(asked_s) >= 2)
    assert asked_s[1] - asked_s[0] > 0.9


def test_refused_points_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    said = ExportMetricsServiceResponse()
    said.partial_success.rejected_data_points = 7
    said.partial_success.error_message = "no\nroom"
    standing = Standing()
    with pushed(lambda _: Answered(body=said.SerializeToString()), standing.metrics.collected) as (_, its):
        until(lambda: its.counters.snapshot()["metrics_failed"] >= 1)
    assert "could not be sent to otlp: 7 points were refused: no\\nroom" in caplog.text


def test_what_cannot_be_collected_is_counted_and_tried_again() -> None:
    tries = 0

    def collected() -> list[Metric]:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ValueError("s3cret")
        return []

    with pushed(lambda _: Answered(), collected) as (received, its):
        until(lambda: received.messages)
        assert its.counters.snapshot()["metrics_failed"] == 1


def threads() -> list[str]:
    return sorted(each.name for each in threading.enumerate() if each.name.endswith("-metrics"))


def config(*destinations: dict[str, Any]) -> Config:
    return Config.model_validate({"url": "http://127.0.0.1:9/", "destinations": list(destinations)})


def test_new_settings_change_who_gets_them() -> None:
    standing = Standing()
    with receiver() as first, receiver() as second:
        a = {"type": "otlp", "name": "a", "url": first.url, "metrics": "1s"}
        b = {"type": "otlp", "name": "b", "url": second.url, "metrics": "1s"}
        out = MetricsOut(config(a), standing.counters, lambda: GAUGES)
        try:
            until(lambda: first.messages)
            ready, _ = out.ready(config(a | {"metrics": "0s"}, b))
            ready()
            until(lambda: second.messages)
            until(lambda: threads() == ["b-metrics"])
            _, drop = out.ready(config(a, b))
            drop()
            until(lambda: threads() == ["b-metrics"])
            number = len(second.messages)
            until(lambda: len(second.messages) > number)
        finally:
            out.stop()
        until(lambda: not threads())
    assert metrics_of(second.messages[0])["sockbpf_journal_depth"].gauge.data_points[0].as_int == 2003
    owed = flat(metrics_of(first.messages[0])["sockbpf_owed"])
    assert {dict(labels)["destination"]: number for (_, labels), number in owed.items()} == {
        "http": 1999, "second": 4,
    }  # fmt: skip


def test_where_nobody_asks_there_are_none() -> None:
    out = MetricsOut(config(), Standing().counters, lambda: GAUGES)
    assert not threads()
    assert out.serves() is None
    out.delivered("http", 0.1, "x")
    out.stop()
