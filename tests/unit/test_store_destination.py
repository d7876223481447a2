# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The destination `store`: what it posts, and what it makes of whatever is answered."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from sockbpf.delivery.destinations.store import MOST_REASONS, Store
from sockbpf.delivery.transport import TransportError
from sockbpf.settings.destinations import BatchStoreSettings
from sockbpf.settings.secret import Secret

ALERTS = [{"event": "exceeded", "id": "0a", "seq": str(n), "comm": 'a "é"\n'} for n in range(1, 4)]
TOKEN = "s3cret-token"


@dataclass
class Server:
    """Answers each POST as `answer` does."""

    url: str
    answer: Callable[[BaseHTTPRequestHandler], None] = lambda _: None


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            made.answer(self)

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        made = Server(f"http://127.0.0.1:{listening.server_port}")
        threading.Thread(target=listening.serve_forever, args=(0.01,), daemon=True).start()
        yield made
        listening.shutdown()


def told(server: Server, status: int, body: object, times: int = 1, **headers: str) -> dict[int, str]:
    """Return what the destination says was refused of the alerts, so many times, when this is answered."""
    text = body if isinstance(body, bytes) else json.dumps(body).encode()
    sent: list[tuple[str, dict[str, str], bytes]] = []

    def answer(handler: BaseHTTPRequestHandler) -> None:
        size = int(handler.headers["Content-Length"])
        sent.append((handler.path, dict(handler.headers), handler.rfile.read(size)))
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(text)))
        handler.end_headers()
        handler.wfile.write(text)

    server.answer = answer
    store = Store(BatchStoreSettings(url=f"{server.url}/under/", token=TOKEN, timeout=10))
    try:
        return dict(store.send_all(ALERTS * times))
    finally:
        store.close()
        ((path, its, data),) = sent
        assert path == "/under/alerts"
        assert its["Authorization"] == f"Bearer {TOKEN}"
        assert [json.loads(line) for line in gzip.decompress(data).split(b"\n")] == ALERTS * times


def taken(*refused: tuple[int, str], new: int = 1) -> dict[str, object]:
    return {
        "new": new,
        "known": len(ALERTS) - new - len(refused),
        "refused": [{"row": row, "why": why} for row, why in refused],
    }


def test_a_batch_that_is_kept_is_delivered(server: Server) -> None:
    assert told(server, 200, taken()) == {}


def test_rows_that_are_refused_are_named_without_a_secret(server: Server) -> None:
    refused = told(server, 200, taken((2, f"no\n{TOKEN}\x1b[31m{'x' * 999}")))
    assert refused.keys() == {1}
    assert refused[1].startswith("the store refused it: no")
    assert TOKEN not in refused[1]
    assert refused[1].isprintable()
    assert len(refused[1]) < 400


@pytest.mark.parametrize(
    "body",
    [
        b"", b"ok", b"[]", b"<html>log in</html>", b"[" * 100_000, b"1" * 600_000, {}, {"new": 3}, taken(new=4),
        {**taken(), "known": 1}, taken((0, "no")), taken((4, "no")), taken((1, "no"), (1, "no")),
        {**taken((1, "no")), "refused": 7}, {"new": 2, "known": 0, "refused": [{"row": "1", "why": "no"}]},
        {"new": 2, "known": 0, "refused": [{"row": 1, "why": None}]}, {"new": "3", "known": 0, "refused": []},
        {"new": 2, "known": 0, "refused": [{"row": 1.0, "why": "no"}]},
    ],
)  # fmt: skip
def test_an_answer_that_does_not_account_for_all_is_a_failure(server: Server, body: Any) -> None:
    with pytest.raises(TransportError, match="answered 200, and not as a store does") as failed:
        told(server, 200, body)
    assert not failed.value.permanent


@pytest.mark.parametrize("status", [400, 413, 422])
def test_where_one_alert_may_be_the_reason_the_others_are_tried_again(server: Server, status: int) -> None:
    with pytest.raises(TransportError, match=f"answered {status}") as failed:
        told(server, status, {})
    assert failed.value.permanent


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_where_none_would_fare_better_all_are_refused(server: Server, status: int) -> None:
    assert told(server, status, {}) == dict.fromkeys(
        range(3), f"POST {server.url}/under/alerts: answered {status}"
    )


@pytest.mark.parametrize("status", [302, 408, 429, 500, 503])
def test_all_else_is_tried_again_when_the_store_says(server: Server, status: int) -> None:
    with pytest.raises(TransportError, match=f"answered {status}") as failed:
        told(server, status, {}, Retry_After="7")
    assert not failed.value.permanent
    assert failed.value.retry_after_s == 7


def test_few_reasons_are_told_apart(server: Server) -> None:
    refused = told(
        server, 200,
        {"new": 0, "known": 0, "refused": [{"row": n, "why": f"{n}"} for n in range(1, 61)]}, times=20,
    )  # fmt: skip
    assert len(refused) == 60
    assert len(set(refused.values())) == MOST_REASONS + 1


def test_a_secret_url_is_not_shown(server: Server) -> None:
    store = Store(BatchStoreSettings(url=Secret(f"{server.url}/hidden"), timeout=10))
    server.answer = lambda handler: handler.send_error(500)
    with pytest.raises(TransportError) as failed:
        store.send_all(ALERTS)
    store.close()
    assert "hidden" not in str(failed.value)
