# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Where the metrics are served, and whom the server hangs up on."""

from __future__ import annotations

import ipaddress
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress

import pytest

from sockbpf.monitor import metrics_server
from sockbpf.monitor.metrics_server import SCRAPES
from tests.unit.scrapes import DEADLINE_S, HISTOGRAM, LOOPBACK, Standing, get, observed, scrape, served


@pytest.fixture
def standing() -> Iterator[Standing]:
    made = Standing()
    yield made
    made.metrics.stop()


def until(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.002)


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
    monkeypatch.setattr(metrics_server, "AGAIN_S", 0.05)
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
        thread = standing.metrics._server._thread
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
    monkeypatch.setattr(metrics_server, "SCRAPE_S", 0.1)
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
