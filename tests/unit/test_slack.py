# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The Slack webhook against a real server: what is posted, and what comes of each answer."""

from __future__ import annotations

import html
import json
import logging
import re
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf import __version__
from sockbpf.delivery.destinations.slack import Slack, text_of
from sockbpf.delivery.transport import TransportError
from sockbpf.record.text import printable, without_markup
from tests.unit.http_servers import Served, body_of, http_server, say

TOLD = {
    "timestamp": "1795343123.482913", "event": "exceeded", "protocol": "tcp", "local_ip": "10.0.0.1",
    "local_port": "80", "remote_ip": "::1", "remote_port": "40000", "type": "SEND", "size": "9",
    "threshold": "8", "peak": "9", "duration": "0", "id": "e", "seq": "7", "host": "h",
    "netns": "4026531840", "mode": "ebpf", "pid": "4711", "comm": "<!channel> & <b>",
}  # fmt: skip
WHEN = "<!date^1795343123^{date_short_pretty} {time_secs}|2026-11-22T10:25:23.482913Z>"
NUMBERS = "SEND queue of tcp 10.0.0.1:80 to [::1]:40000 holds 9 bytes, over 8"
TEXT = (
    f"{NUMBERS}\n*exceeded* of tcp 80 on h, {WHEN}: \u2039\uff01channel\u203a &amp; \u2039b\u203a (pid 4711)"
)
WHY = {
    "comm": "nginx",
    "reason": "the peer does not read: its window is 0, 3.1 MiB stand unsent (81 % of the buffer)",
}
HEARTBEAT = {"event": "heartbeat", "timestamp": "1795343123.000000", "host": "h", "seq": "7", "alerts": "12"}
PATH = "/services/T0/B0/s3cret"
HANGS_S = 30
"""Far above any timeout of these tests: who takes that long hangs."""


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy of whoever runs the tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@dataclass
class Webhook:
    """A server that records what is posted to it."""

    served: Served
    posted: list[tuple[str, dict[str, str], str]]
    """Path, headers and body of each request."""

    @property
    def url(self) -> str:
        return f"http://user:s3cret@127.0.0.1:{self.served.port}{PATH}?s3cret"

    @property
    def shown(self) -> str:
        return f"POST http://127.0.0.1:{self.served.port}/..."


Answer = Callable[[BaseHTTPRequestHandler], None]


@contextmanager
def webhook(answer: Answer) -> Iterator[Webhook]:
    posted = []

    def record(handler: BaseHTTPRequestHandler) -> None:
        body = body_of(handler).decode() if handler.command == "POST" else ""
        posted.append((handler.path, dict(handler.headers), body))
        answer(handler)

    with http_server(record) as served:
        yield Webhook(served, posted)


def failure(url: str, timeout_s: float = HANGS_S) -> TransportError:
    with closing(Slack(url=url, timeout_s=timeout_s)) as slack, pytest.raises(TransportError) as failed:
        slack.send(TOLD)
    shown = "".join(traceback.format_exception(failed.value)) + repr(failed.value)
    assert "s3cret" not in shown
    assert "services" not in shown
    return failed.value


def test_a_message() -> None:
    assert text_of(TOLD) == TEXT


@settings(deadline=None)
@given(st.text(), st.text())
def test_nothing_in_a_name_is_read_by_slack(name: str, host: str) -> None:
    fields = TOLD | {"comm": name, "host": host}
    text = text_of(fields)
    ours = re.sub(r"<!date\^[^<>]*>", "", text)
    assert not re.search("[<>]|&(?!(amp|lt|gt);)", ours)
    lines = html.unescape(text).split("\n")
    plain = without_markup(fields)
    assert lines[0] == NUMBERS
    assert len(lines) == 2
    assert lines[1].endswith(f": {printable(plain['comm'])} (pid 4711)")


def test_why_comes_first_then_whose_then_the_numbers() -> None:
    told = TOLD | WHY | {
        "unit": "nginx.service", "container": "0123456789ab", "user": "www-data", "netns_name": "blue",
        "peer_pid": "12312", "peer_comm": "psql", "fill": "81", "drops": "37", "severity": "critical",
    }  # fmt: skip
    assert text_of(told) == (
        f"{WHY['reason']}\n"
        f"*exceeded*, critical, of tcp 80 on h, {WHEN}: nginx (pid 4711), unit nginx.service, "
        "container 0123456789ab, user www-data, network namespace blue, the other end is psql (pid 12312)\n"
        f"{NUMBERS}, its buffer is 81 % full, 37 dropped"
    ).replace("nginx.service", "nginx\uff0eservice")


def test_the_end_says_first_that_it_is_over() -> None:
    told = TOLD | WHY | {"event": "cleared", "size": "0", "duration": "12.5"}
    first, _, last = text_of(told).split("\n")
    assert first == NUMBERS.replace("holds 9 bytes, over 8", "is back at 0 bytes after 12.5 s over 8, peak 9")
    assert last == f"it was: {WHY['reason']}"


def test_the_end_names_the_same_incident_from_whichever_end() -> None:
    """A message cannot be edited: who reads it must find the one that it ends."""
    other = {"local_ip": "::1", "local_port": "40000", "remote_ip": "10.0.0.1", "remote_port": "80"}
    for fields in (TOLD, TOLD | other | {"event": "cleared"}):
        assert " of tcp 80 on h, " in text_of(fields)


def test_a_message_is_no_longer_than_slack_shows() -> None:
    text = text_of(TOLD | dict.fromkeys(("reason", "unit", "comm", "host", "peer_comm"), "\x1b" * 9000))
    assert 3000 < len(text) < 5000
    assert len(text_of(TOLD | {"reason": "&" * 9000})) < 40_000


HOSTILE = "@channel *b* `c` ~d~ <!here> [t](http://x.example) :tada: x.example _e_ a: b (c) 1.2\n\x1b[1m"


@settings(deadline=None)
@given(st.just(HOSTILE) | st.text())
def test_nothing_in_a_sentence_or_in_an_owner_is_read_by_slack(name: str) -> None:
    names = ("comm", "unit", "container", "user", "netns_name", "peer_comm", "reason")
    text = text_of(TOLD | dict.fromkeys(names, name) | {"peer_pid": "7"})
    ours = text.replace(WHEN, "").replace("*exceeded*", "").replace(NUMBERS, "")
    assert text.count("\n") <= 2
    assert all(line.isprintable() for line in text.split("\n"))
    assert not re.search(r"[<>@*`~|#\[\]!/$]|&(?!(amp|lt|gt);)|:(?! )|[^ ]\(|\.[^\W\d_]", ours)


def test_alerts_are_posted_on_one_connection_and_heartbeats_are_not() -> None:
    with webhook(say(200)) as served, closing(Slack(url=served.url, timeout_s=HANGS_S)) as slack:
        for fields in (TOLD, HEARTBEAT, TOLD | {"event": "cleared"}):
            slack.send(fields)
    assert [path for path, _, _ in served.posted] == [f"{PATH}?s3cret"] * 2
    assert len(served.served.connections) == 1
    _, headers, body = served.posted[0]
    assert json.loads(body) == {"text": TEXT}
    assert headers["Content-Type"] == "application/json"
    assert headers["User-Agent"] == f"sockbpf/{__version__}"


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_2xx_is_delivered(status: int) -> None:
    with webhook(say(status, b"")) as served, closing(Slack(url=served.url, timeout_s=HANGS_S)) as slack:
        slack.send(TOLD)


@pytest.mark.parametrize(
    ("status", "permanent"),
    [(400, True), (403, True), (404, True), (410, True), (408, False), (429, False), (500, False)],
)
def test_other_answers_are_failures(status: int, permanent: bool) -> None:
    with webhook(say(status, b"no_service")) as served:
        error = failure(served.url)
    assert str(error) == f"{served.shown}: answered {status}"
    assert (error.permanent, error.retry_after_s) == (permanent, None)


def test_slack_asks_to_be_left_alone() -> None:
    with webhook(say(429, Retry_After="30")) as served:
        assert failure(served.url).retry_after_s == 30.0


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_failures(status: int) -> None:
    """Most would make a GET of it: the 2xx of what is there would say nothing."""
    with webhook(say(status, Location="/elsewhere")) as served:
        error = failure(served.url)
    assert str(error) == f"{served.shown}: answered {status}"
    assert not error.permanent
    assert len(served.posted) == 1


def test_cookies_are_not_kept() -> None:
    with (
        webhook(say(200, Set_Cookie="a=1")) as served,
        closing(Slack(url=served.url, timeout_s=HANGS_S)) as slack,
    ):
        slack.send(TOLD)
        slack.send(TOLD)
    assert "Cookie" not in served.posted[1][1]


def test_netrc_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login user password s3cret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with webhook(say(200)) as served:
        url = served.url.replace("user:s3cret@", "")
        with closing(Slack(url=url, timeout_s=HANGS_S)) as slack:
            slack.send(TOLD)
    assert "Authorization" not in served.posted[0][1]


def test_an_endless_body_is_not_read_to_its_end() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        with suppress(OSError):
            while True:
                handler.wfile.write(b"x" * 65536)

    with webhook(answer) as served, closing(Slack(url=served.url, timeout_s=HANGS_S)) as slack:
        slack.send(TOLD)


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 ", b"HTTP/1.1 500 No\r\nX-Drip: "])
def test_an_answer_drop_by_drop_is_cut(begun: bytes) -> None:
    over = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(begun)
        with suppress(OSError):
            while not over.wait(0.02):
                handler.wfile.write(b"x")

    with webhook(answer) as served:
        begun_s = time.monotonic()
        # A status line cut in its middle is whole enough for http.client.
        with closing(Slack(url=served.url, timeout_s=0.2)) as slack, suppress(TransportError):
            slack.send(TOLD)
        assert time.monotonic() - begun_s < HANGS_S
        over.set()


def test_a_server_that_never_answers() -> None:
    over = threading.Event()

    def keep_silent(_: BaseHTTPRequestHandler) -> None:
        over.wait()

    with webhook(keep_silent) as served:
        assert str(failure(served.url, timeout_s=0.2)) == f"{served.shown}: no answer within 0.2 s"
        over.set()


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
    error = failure(f"http://127.0.0.1:{port}{PATH}")
    assert str(error) == f"POST http://127.0.0.1:{port}/...: ConnectionError: Connection refused"
    assert not error.permanent


@pytest.mark.parametrize(
    "url", ["", f"hooks.invalid{PATH}", "http://", f"http://[::1{PATH}", f"gopher://host{PATH}"]
)
def test_a_url_that_is_none_is_refused_or_a_failure_like_others(url: str) -> None:
    with pytest.raises((TransportError, ValueError)), closing(Slack(url=url, timeout_s=HANGS_S)) as slack:
        slack.send(TOLD)


def test_no_library_logs_the_secrets(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG), webhook(say(500)) as served:
        failure(served.url)
    assert "s3cret" not in caplog.text
