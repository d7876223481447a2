# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The metrics as Prometheus reads them: real scrapes over HTTP, read back by its own parser."""

from __future__ import annotations

import ipaddress
import select
import socket
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import replace
from http.client import HTTPConnection

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from sockbpf.counters import LOSSES, NAMES, Counters
from sockbpf.monitor import metrics
from sockbpf.monitor.metrics import BUCKETS_S, SCRAPES, Gauges, Metrics

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


@pytest.fixture
def standing() -> Iterator[Standing]:
    made = Standing()
    yield made
    made.metrics.stop()


def served(metrics: Metrics, host: str, port: int) -> int:
    metrics.start(host, port)
    return metrics.port(DEADLINE_S)


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


def get(host: str, port: int, path: str = "/metrics") -> str:
    with closing(HTTPConnection(host, port, timeout=DEADLINE_S)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        text = answer.read().decode()
        assert (answer.status, answer.headers.get_content_type()) == (200, "text/plain"), text
        return text


def scrape(port: int, host: str = LOOPBACK) -> dict[str, Metric]:
    families = text_string_to_metric_families(get(host, port))
    return {family.name: family for family in families if not family.name.endswith("_created")}


def values(family: Metric) -> dict[str, float]:
    """Return the only sample's value by its name, or one for each destination."""
    return {sample.labels.get("destination", sample.name): sample.value for sample in family.samples}


def observed(family: Metric, destination: str) -> Mapping[str, float]:
    """Return the cumulative count of each bucket, by its upper bound, and the count and sum of all."""
    return {
        sample.labels.get("le", sample.name.removeprefix(f"{HISTOGRAM}_")): sample.value
        for sample in family.samples
        if sample.labels["destination"] == destination and not sample.name.endswith("_created")
    }


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


# the server


def test_ipv6(standing: Standing) -> None:
    port = served(standing.metrics, "::1", 0)
    assert "sockbpf_open_episodes" in scrape(port, "::1")
    with pytest.raises(ConnectionRefusedError):
        get(LOOPBACK, port)


def test_loopback_is_not_reached_from_outside(standing: Standing) -> None:
    """Another address of this host stands for the world."""
    port = served(standing.metrics, LOOPBACK, 0)
    another = str(ipaddress.ip_address(LOOPBACK) + 1)
    with pytest.raises(ConnectionRefusedError):
        get(another, port)


def test_a_port_that_is_taken_is_said_counted_and_tried_again(
    standing: Standing, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(metrics, "AGAIN_S", 0.05)
    port = served(standing.metrics, LOOPBACK, 0)
    other = Standing()
    other.metrics.start(LOOPBACK, port)
    until(lambda: other.counters.snapshot()["metrics_failed"] >= 2)
    assert (
        f"metrics > listen: cannot serve on 127.0.0.1 port {port}, tried again in 0.05 s: Address already in use; "
        f"who has it: ss -ltnp 'sport = :{port}'"
    ) in caplog.text
    standing.metrics.stop()
    assert other.metrics.port(DEADLINE_S) == port
    assert scrape(port)
    other.metrics.stop()


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_that_is_not_ours_is_said(
    standing: Standing, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    standing.metrics.start(host, 9464)
    until(lambda: standing.counters.snapshot()["metrics_failed"] == 1)
    assert f"metrics > listen: cannot serve on {host} port 9464, tried again in 30 s: " in caplog.text


def test_it_can_be_stopped_and_started_again_on_the_same_port(standing: Standing) -> None:
    port = served(standing.metrics, LOOPBACK, 0)
    standing.metrics.delivered("http", 1)
    for _ in range(2):
        scrape(port)
        thread = standing.metrics._thread
        assert thread
        standing.metrics.stop()
        assert not thread.is_alive()
        with pytest.raises(ConnectionRefusedError):
            get(LOOPBACK, port)
        assert served(standing.metrics, LOOPBACK, port) == port
    assert observed(scrape(port)[HISTOGRAM], "http")["count"] == 1


def closed(connection: socket.socket) -> bool:
    """Wait for the server to hang up, whichever way."""
    connection.settimeout(DEADLINE_S)
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


def test_a_scraper_that_says_nothing_is_hung_up_on(
    standing: Standing, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(metrics, "SCRAPE_S", 0.1)
    port = served(standing.metrics, LOOPBACK, 0)
    scrape(port)
    with socket.create_connection((LOOPBACK, port)) as silent:
        assert closed(silent)
    assert capfd.readouterr().err == ""


def test_so_many_scrapers_at_once_and_no_more(standing: Standing) -> None:
    port = served(standing.metrics, LOOPBACK, 0)
    with ExitStack() as stack:
        silent = {
            stack.enter_context(socket.create_connection((LOOPBACK, port), DEADLINE_S))
            for _ in range(SCRAPES + 3)
        }
        hung_up_on: set[socket.socket] = set()
        while len(hung_up_on) < 3:
            readable = select.select(silent - hung_up_on, (), (), DEADLINE_S)[0]
            assert readable
            assert all(closed(one) for one in readable)
            hung_up_on |= set(readable)
        for one in silent - hung_up_on:
            one.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            assert one.recv(12) == b"HTTP/1.0 200"


@pytest.mark.parametrize(
    "hostile", [b"GET /" + b"a" * 100_000, b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 10_000, b"\0" * 100_000]
)
def test_a_request_without_an_end_is_hung_up_on(standing: Standing, hostile: bytes) -> None:
    port = served(standing.metrics, LOOPBACK, 0)
    with socket.create_connection((LOOPBACK, port), DEADLINE_S) as endless:
        with suppress(ConnectionError):
            endless.sendall(hostile)
        assert closed(endless)
    assert scrape(port)


def test_those_who_hold_all_places_keep_nobody_out(standing: Standing) -> None:
    port = served(standing.metrics, LOOPBACK, 0)
    with ExitStack() as stack:
        for _ in range(10 * SCRAPES):
            silent = stack.enter_context(socket.create_connection((LOOPBACK, port), DEADLINE_S))
            silent.sendall(b"GET /")
        for _ in range(7):
            assert scrape(port)


def test_nothing_but_get(standing: Standing) -> None:
    with socket.create_connection((LOOPBACK, served(standing.metrics, LOOPBACK, 0)), DEADLINE_S) as other:
        other.sendall(b"DELETE / HTTP/1.1\r\n\r\n")
        assert other.recv(12) == b"HTTP/1.0 405"


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
