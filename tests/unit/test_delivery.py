"""Spool, workers and the HTTP GET together, against a receiver that fails in every way it can."""

from __future__ import annotations

import logging
import socket
import struct
import threading
from collections import defaultdict
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from sockbpf.alert import CLEARED, EXCEEDED, ONGOING, Alert
from sockbpf.counters import Counters
from sockbpf.delivery.http_get import HttpGet
from sockbpf.delivery.spool import Spool, lane_of
from sockbpf.delivery.worker import Workers
from sockbpf.event import Direction, Mode, Protocol, Socket

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import pytest

SOCKET = Socket(Protocol.UDP, "::", 53, "::", 0, 4026531840, 1)

OK, ERROR, RESET, SILENT_END = range(4)


def alert(episode: str, seq: int, event: str) -> Alert:
    return Alert(episode, seq, event, 10**18, 0, SOCKET, Direction.RECV, 2, 1, 2, Mode.EBPF, "host")


@contextmanager
def receiver(decide: Callable[[dict[str, str]], int]) -> Iterator[str]:
    """Serve on loopback; `decide` says how each request, given its query, is treated. Yields the URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            treatment = decide(dict(parse_qsl(urlsplit(self.path).query)))
            if treatment in (RESET, SILENT_END):
                if treatment == RESET:
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.wfile.write(b"HTTP/1.1 20")
                self.close_connection = True
                return
            self.send_response(200 if treatment == OK else 500)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://user:s3cret@127.0.0.1:{server.server_port}/alert?token=s3cret"
    finally:
        server.shutdown()
        server.server_close()
        thread.join(20)


def started(spool: Spool, url: str, counters: Counters) -> Workers:
    workers = Workers(
        spool, partial(HttpGet, url, timeout_s=10), counters, retry_first_s=0.001, retry_max_s=0.01
    )
    workers.start()
    return workers


def test_every_alert_arrives_once_and_in_order_through_every_kind_of_failure(
    caplog: pytest.LogCaptureFixture,
) -> None:
    lock = threading.Lock()
    tries: dict[str, int] = defaultdict(int)
    arrived: list[tuple[str, int, str]] = []
    failures = 0

    def decide(query: dict[str, str]) -> int:
        nonlocal failures
        assert query["token"] == "s3cret"
        with lock:
            seq = query["seq"]
            tries[seq] += 1
            # Each alert fails 0 to 3 times, and each time another way.
            if tries[seq] <= int(seq) % 4:
                failures += 1
                return 1 + (int(seq) + tries[seq]) % 3
            arrived.append((query["id"], int(seq), query["event"]))
            return OK

    counters = Counters()
    spool = Spool(4, 1000, counters)
    events = (EXCEEDED, ONGOING, CLEARED)
    with caplog.at_level(logging.DEBUG), receiver(decide) as url:
        workers = started(spool, url, counters)
        for seq in range(31 * 3):
            assert spool.offer(alert(f"episode-{seq % 31}", seq, events[seq // 31]))
        assert workers.stop(120) == 0
    for n in range(31):
        told = [(seq, event) for episode, seq, event in arrived if episode == f"episode-{n}"]
        assert told == [(n, EXCEEDED), (n + 31, ONGOING), (n + 62, CLEARED)]
    counts = counters.snapshot()
    assert (counts["delivered"], counts["retried"], counts["dropped"]) == (93, failures, 0)
    assert failures == sum(seq % 4 for seq in range(93))
    assert "delivery failed" in caplog.text
    assert "s3cret" not in caplog.text


def test_what_does_not_fit_is_dropped_and_counted_and_the_rest_arrives() -> None:
    counters = Counters()
    spool = Spool(3, 41, counters)
    taken = sum(spool.offer(alert(str(seq), seq, EXCEEDED)) for seq in range(103))
    with receiver(lambda _: OK) as url:
        owed = started(spool, url, counters).stop(60)
    counts = counters.snapshot()
    assert (taken, counts["delivered"], counts["dropped"], owed) == (41, 41, 62, 0)


def test_a_receiver_slow_for_one_episode_is_quick_for_others() -> None:
    slow = "slow"
    quick = next(name for name in map(str, range(1000)) if lane_of(name, 2) != lane_of(slow, 2))
    go, quick_done = threading.Event(), threading.Event()

    def decide(query: dict[str, str]) -> int:
        if query["id"] == slow:
            assert go.wait(60)
        elif query["seq"] == "19":
            quick_done.set()
        return OK

    counters = Counters()
    spool = Spool(2, 100, counters)
    with receiver(decide) as url:
        workers = started(spool, url, counters)
        spool.offer(alert(slow, 0, EXCEEDED))
        for seq in range(1, 20):
            spool.offer(alert(quick, seq, ONGOING))
        assert quick_done.wait(20)
        go.set()
        assert workers.stop(20) == 0
    assert counters.snapshot()["delivered"] == 20
