# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The HTTP GET: how an alert stands in the query, which answers deliver it, which ask to stay away."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from urllib.parse import urlsplit

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf import __version__
from sockbpf.delivery.destinations.http_get import BODY_BYTES, HttpGet, retry_after_s
from sockbpf.delivery.transport import TransportError
from sockbpf.record.alert import EXCEEDED, Alert
from sockbpf.record.fields import parameters
from sockbpf.settings.destinations import HttpSettings
from tests.unit.http_servers import HANGS_S, NOTICE, TOLD, destination, failure, http_server, raw_server, say

pytestmark = pytest.mark.usefixtures("plain_environment")


def test_the_alert_is_told_in_the_query() -> None:
    with http_server(say(200)) as served, destination(served.url) as http_get:
        http_get.send(TOLD)
    assert served.query() == list(TOLD.items())
    assert urlsplit(served.targets[0]).path == "/alert"
    assert served.headers[0]["User-Agent"] == f"sockbpf/{__version__}"


def test_each_alert_is_told_by_itself() -> None:
    with http_server(say(200)) as served, destination(served.url) as http_get:
        for seq in range(3):
            http_get.send({"seq": str(seq), "comm": ""})
    assert [target.partition("?")[2] for target in served.targets] == [f"seq={seq}&comm=" for seq in range(3)]


@pytest.mark.parametrize("query", ["a=1&b=%26%20x&a=2", "flag", "a=b+c&empty="])
def test_the_query_of_the_url_is_kept(query: str) -> None:
    with http_server(say(200)) as served, destination(f"{served.url}?{query}") as http_get:
        http_get.send(TOLD)
    assert served.targets[0].startswith(f"/alert?{query}&timestamp=")
    assert served.query()[-len(TOLD) :] == list(TOLD.items())


def test_an_empty_path_does_no_harm() -> None:
    with (
        http_server(say(200)) as served,
        destination(f"http://127.0.0.1:{served.port}?a=1") as http_get,
    ):
        http_get.send(TOLD)
    assert served.targets[0].startswith("/?a=1&timestamp=")


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
def test_any_2xx_is_delivered_and_the_connection_serves_again(status: int) -> None:
    with http_server(say(status)) as served, destination(served.url) as http_get:
        for _ in range(3):
            http_get.send(TOLD)
    assert (len(served.targets), len(served.connections)) == (3, 1)


def test_a_chunked_answer_leaves_the_connection_usable() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"3\r\nabc\r\n0\r\n\r\n")

    with http_server(answer) as served, destination(served.url) as http_get:
        for _ in range(3):
            http_get.send(TOLD)
    assert (len(served.targets), len(served.connections)) == (3, 1)


@pytest.mark.parametrize(("length", "connections"), [(BODY_BYTES, 1), (BODY_BYTES * 50, 3)])
def test_a_connection_serves_again_only_if_the_body_was_read_whole(length: int, connections: int) -> None:
    with http_server(say(200, b"x" * length)) as served, destination(served.url) as http_get:
        for _ in range(3):
            http_get.send(TOLD)
    assert (len(served.targets), len(served.connections)) == (3, connections)


def test_a_body_without_end_is_left() -> None:
    left = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        with suppress(OSError):
            while True:
                handler.wfile.write(b"x" * 65536)
        left.set()

    with http_server(answer) as served, destination(served.url, timeout_s=600) as http_get:
        http_get.send(TOLD)
        assert left.wait(HANGS_S)


@pytest.mark.parametrize(
    ("status", "permanent"),
    [(status, True) for status in (400, 401, 403, 404, 410, 422)]
    + [(status, False) for status in (300, 304, 408, 409, 418, 425, 429, 500, 502, 503, 504, 599)],
)
def test_every_other_status_is_a_failure_and_permanent_is_said_truthfully(
    status: int, permanent: bool
) -> None:
    with http_server(say(status, b"")) as served:
        error = failure(served.url)
    assert str(error) == f"GET http://127.0.0.1:{served.port}/alert: answered {status}"
    assert (error.permanent, error.retry_after_s) == (permanent, None)


def test_after_failures_it_works_again() -> None:
    answers = iter([say(500), say(503), say(500), say(200)])

    def answer(handler: BaseHTTPRequestHandler) -> None:
        next(answers)(handler)

    with http_server(answer) as served, destination(served.url) as http_get:
        for _ in range(3):
            with pytest.raises(TransportError):
                http_get.send(TOLD)
        http_get.send(TOLD)
    assert len(served.connections) == 1


def test_a_receiver_that_ends_between_two_alerts() -> None:
    with http_server(say(200)) as served:
        http_get = HttpGet(HttpSettings(url=served.url))
        http_get.send(TOLD)
    with pytest.raises(TransportError, match="Connection refused"):
        http_get.send(TOLD)
    http_get.close()


def test_a_connection_closed_while_idle_is_opened_again() -> None:
    closed = threading.Semaphore(0)

    def once(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        connection.close()
        closed.release()

    with raw_server(once) as url, destination(url) as http_get:
        for _ in range(3):
            http_get.send(TOLD)
            assert closed.acquire(timeout=HANGS_S)


def test_retry_after_is_passed_on() -> None:
    when = datetime.now(timezone.utc) + timedelta(hours=1)
    with http_server(say(503, Retry_After="17")) as served:
        assert failure(served.url).retry_after_s == 17
    with http_server(say(429, Retry_After=format_datetime(when, usegmt=True))) as served:
        assert failure(served.url).retry_after_s == pytest.approx(3600, abs=HANGS_S)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("9" * 5000, float("inf")),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0),
        ("Thu, 01 Jan 1970 00:02:00 -0000", 20.0),
        ("Thursday, 01-Jan-70 00:02:00 GMT", 20.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        (None, None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("\u0663", None),
        ("soon", None),
        ("Thu, 99 Jan 1970 00:02:00 GMT", None),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, now=100.0) == seconds


@settings(deadline=None)
@given(st.text())
def test_no_retry_after_is_too_strange(value: str) -> None:
    seconds = retry_after_s(value, now=100.0)
    assert seconds is None or seconds >= 0


def test_what_no_url_can_hold_is_a_failure_like_others() -> None:
    with http_server(say(200)) as served, destination(served.url) as http_get:
        with pytest.raises(TransportError, match="UnicodeEncodeError"):
            http_get.send({"comm": "\udcff"})
        http_get.send(TOLD)


def test_the_duration_of_an_exceeded_is_a_plain_zero() -> None:
    first = parameters(Alert(replace(NOTICE, event=EXCEEDED, pid=0), 1, "host", 0))
    with http_server(say(200)) as served, destination(served.url) as http_get:
        http_get.send(first)
    told = dict(served.query())
    assert told["duration"] == "0"
    assert "pid" not in told
    assert "comm" not in told
