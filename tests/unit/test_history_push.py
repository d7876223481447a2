# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The history to a store: what is sent, tried again, and counted as lost."""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from sockbpf.counters import Counters
from sockbpf.delivery.destinations import history_post
from sockbpf.delivery.destinations.history_post import bodies_of
from sockbpf.delivery.transport import TransportError
from sockbpf.monitor import history_push
from sockbpf.monitor.history_push import HistoryPush
from sockbpf.record.history import Sample, Series
from sockbpf.settings.destinations import BatchStoreSettings, HttpSettings
from tests.unit.http_servers import body_of, http_server, say

AT_S = 1_795_343_120
TOKEN = "s3cret-token"


@dataclass
class Server:
    """Answers each POST with the status and the body that it was given last."""

    url: str
    status: int = 200
    answer: bytes = b'{"samples":1,"refused":[]}'
    got: list[tuple[str, dict[str, str], list[Any]]] = field(default_factory=list)


@pytest.fixture
def server() -> Iterator[Server]:
    def answer(asks: BaseHTTPRequestHandler) -> None:
        lines = gzip.decompress(body_of(asks)).splitlines()
        made.got.append((asks.path, dict(asks.headers), [json.loads(line) for line in lines]))
        say(made.status, made.answer)(asks)

    with http_server(answer) as served:
        made = Server(f"http://127.0.0.1:{served.port}")
        yield made


def told(*numbers: int) -> dict[Series, dict[int, Sample]]:
    return {
        Series("web1", f"s{number}", "tcp", "RECV"): {
            AT_S: Sample(number, 1, 1, 0),
            AT_S + 10: Sample(9, 9, 1, 2),
        }
        for number in numbers
    }


def push_to(url: str, counters: Counters) -> HistoryPush:
    settings = BatchStoreSettings.model_validate(
        {"type": "store", "url": url, "token": TOKEN, "timeout": "5s"}
    )
    return HistoryPush(settings, None, counters)


def beat() -> None:
    pass


def test_each_series_is_a_line_of_a_bounded_request(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history_post, "AT_ONCE", 2)
    counters = Counters()
    push = push_to(server.url, counters)
    push.add(bodies_of(told(1, 2, 3)))
    push.send(beat)
    push.close()
    assert [(path, len(lines)) for path, _, lines in server.got] == [("/history", 2), ("/history", 1)]
    assert server.got[0][1]["Authorization"] == f"Bearer {TOKEN}"
    assert server.got[1][2] == [
        {
            "host": "web1", "service": "s3", "protocol": "tcp", "type": "RECV", "at": [AT_S, AT_S + 10],
            "size": [3, 9], "fill": [1, 9], "sockets": [1, 1], "drops": [0, 2],
        }
    ]  # fmt: skip
    assert counters.snapshot()["history_lost"] == 0


def test_to_our_own_store_it_goes_by_its_place_alone(server: Server) -> None:
    settings = HttpSettings.model_validate({"url": "http://127.0.0.1:9/alert?a=b"})
    host, port = server.url.removeprefix("http://").split(":")
    places: list[tuple[str, int]] = []

    def place() -> tuple[str, int]:
        if not places:
            raise TransportError("not ours")
        return places[0]

    push = HistoryPush(settings, place, Counters())
    push.add(bodies_of(told(1)))
    push.send(beat)
    assert server.got == []
    places.append((host, int(port)))
    push.send(beat)
    push.close()
    assert [path for path, _, _ in server.got] == ["/history"]


def test_a_store_that_is_away_gets_it_later_once(server: Server) -> None:
    counters = Counters()
    push = push_to(server.url, counters)
    server.status = 503
    for number in (1, 2):
        push.add(bodies_of(told(number)))
        push.send(beat)
    assert len(server.got) == 2
    server.status = 200
    push.send(beat)
    push.send(beat)
    push.close()
    assert [lines[0]["service"] for _, _, lines in server.got] == ["s1", "s1", "s1", "s2"]
    assert counters.snapshot()["history_lost"] == 0


def test_what_a_store_is_away_for_too_long_is_lost_and_counted(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(history_push, "MOST_BODIES", 3)
    counters = Counters()
    push = push_to(server.url, counters)
    server.status = 503
    for number in range(5):
        push.add(bodies_of(told(number)))
    assert counters.snapshot()["history_lost"] == 4
    server.status = 200
    push.send(beat)
    assert [lines[0]["service"] for _, _, lines in server.got] == ["s2", "s3", "s4"]
    push.add(bodies_of(told(6)))
    push.close()
    assert counters.by_destination()["store"]["history_lost"] == 6


def test_bytes_are_bounded_too(monkeypatch: pytest.MonkeyPatch) -> None:
    bodies = [next(bodies_of(told(number))) for number in range(9)]
    monkeypatch.setattr(history_push, "MOST_BYTES", sum(len(body.data) for body in bodies[4:]))
    counters = Counters()
    push_to("http://127.0.0.1:9", counters).add(bodies)
    assert counters.snapshot()["history_lost"] == 8


@pytest.mark.parametrize(
    ("status", "answer", "lost"),
    [
        (404, b"", 6),
        (403, b"", 6),
        (422, b"{}", 6),
        (200, b'{"samples":4,"refused":[{"row":2,"why":"x"}]}', 2),
        (200, b'{"samples":3,"refused":[{"row":2,"why":"x"}],"too_old":1}', 3),
        (200, b'{"refused":[],"too_old":99}', 6),
        (200, b'{"refused":[],"too_old":1e999}', 6),
        (200, b'{"refused":[],"too_old":[]}', 6),
        (200, b"hello", 6),
        (200, b'{"refused":[{"row":99}]}', 6),
    ],
)
def test_what_is_refused_is_counted_and_not_sent_again(
    server: Server, caplog: pytest.LogCaptureFixture, status: int, answer: bytes, lost: int
) -> None:
    server.status, server.answer = status, answer
    counters = Counters()
    push = push_to(server.url, counters)
    push.add(bodies_of(told(1, 2, 3)))
    push.send(beat)
    push.send(beat)
    push.close()
    assert len(server.got) == 1
    assert counters.snapshot()["history_lost"] == lost
    assert len(caplog.records) == 1
    assert TOKEN not in caplog.text
