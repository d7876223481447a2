# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Thousands of hostile requests: none is an error inside, nothing grows, honest clients are served all the while."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from statistics import median
from typing import Any

import pytest
import requests

from sockbpf.store.data.database import READERS
from tests.live.waiting import DEADLINE_S, until
from tests.store.conftest import StartStore
from tests.store.hostile import request
from tests.store.sending import descriptors, send_honest, send_hostile, sockets
from tests.store.serving import told
from tests.store.talking import Talk, memory_mib

SEED = 86_453
COUNTS = {"sqlite": 10_007, "postgresql": 2_003, "mysql": 2_003, "clickhouse": 503}
PATIENCE = "300ms"
GROWTH_MIB = 60
"""What a store may grow by: its caches, and the largest body that was under way."""
AT_REST = 26
"""Fewer sockets than that a store has without a client: it holds its listener 16 times."""
OF_DATABASE = 3 * READERS
"""Files of the connections to SQLite, which are made when they are needed."""
SOON_S = 5.0
"""An honest client is answered by then on a busy machine too: much sooner than after a hundred slow ones."""


def test_hostile_requests_do_no_harm(start: StartStore, database_of: Any, database_kind: str) -> None:
    store = start(database_of(database_kind), patience=PATIENCE)
    count = COUNTS[database_kind]
    send_honest(store, range(100))
    warm = send_hostile(store, SEED + 1, count // 10)
    until(lambda: sockets(store) < AT_REST, lambda: f"{sockets(store)} sockets")
    before_mib, before_descriptors = memory_mib(store.process.pid), descriptors(store)
    before_sockets = sockets(store)
    begun = time.monotonic()
    seen = send_hostile(store, SEED, count)
    took_s = time.monotonic() - begun
    assert not warm.faults + seen.faults, "\n".join((warm.faults + seen.faults)[:20])

    took = send_honest(store, range(100, 200))
    after_mib = memory_mib(store.process.pid)
    until(
        lambda: sockets(store) <= before_sockets + 4,
        lambda: f"{before_sockets} sockets before, {sockets(store)} after",
    )
    assert descriptors(store) <= before_descriptors + 4 + OF_DATABASE
    print(
        f"{count} in {took_s:.1f} s: {dict(sorted(seen.statuses.items()))}, {seen.let_go} let go; honest ones "
        f"then {median(took) * 1e3:.1f} ms, {max(took) * 1e3:.0f} at most; {before_mib:.0f} MiB before, "
        f"{after_mib:.0f} after; {before_descriptors} descriptors, {descriptors(store)} after"
    )
    assert sum(seen.statuses.values()) > count // 2, "most are answered"
    assert seen.statuses[200] > count // 20, "some are taken"
    assert seen.statuses[422] > count // 10, "and many refused"
    assert max(took) < SOON_S
    assert after_mib - before_mib < GROWTH_MIB
    log = store.log()
    assert "Traceback" not in log
    assert len(log.splitlines()) < 50, "nobody can fill the log from outside"
    kept = requests.get(f"{store.url}/store.json?host=honest&limit=1000", timeout=9).json()
    assert sorted(alert["seq"] for alert in kept) == list(range(200))
    assert store.stop() == 0


PIECES = {
    "says nothing": (b"", b""),
    "half a line": (b"GET /al", b"e"),
    "half a head": (b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX: ", b"x"),
    "empty lines": (b"\r\n", b"\r\n"),
    "empty lines behind a request": (request(b"/healthz"), b"\r\n"),
    "half a body": (request(b"/store.json", ("Content-Length", "9999"), method="POST"), b"x"),
    "half a chunk": (
        request(b"/store.json", ("Transfer-Encoding", "chunked"), method="POST") + b"ffff\r\n", b"x",
    ),
    "no end of chunks": (
        request(b"/store.json", ("Transfer-Encoding", "chunked"), method="POST"), b"1\r\nx\r\n",
    ),
    "a body that nobody wants": (request(b"/healthz", ("Content-Length", "9999")), b"x"),
    "no end of trailers": (
        request(b"/store.json", ("Transfer-Encoding", "chunked"), method="POST") + b"1\r\n{\r\n0\r\n", b"A: b\r\n",
    ),
}  # fmt: skip
"""What a slow client sends first, and then again and again."""


def test_who_is_slow_is_let_go(start: StartStore, database_of: Any) -> None:
    store = start(database_of("sqlite"), patience="500ms")
    before = sockets(store)
    talks = [(Talk(store.url), piece) for piece in PIECES for _ in range(10)]
    for talk, piece in talks:
        talk.send(PIECES[piece][0])
    dripping = threading.Event()

    def drip() -> None:
        while not dripping.wait(0.1):
            for talk, piece in talks:
                with suppress(OSError):  # it has been let go
                    talk.send(PIECES[piece][1])

    thread = threading.Thread(target=drip)
    thread.start()
    try:
        assert max(send_honest(store, range(10))) < SOON_S
        assert [piece for talk, piece in talks if not talk.is_let_go()] == []
    finally:
        dripping.set()
        thread.join()
    until(lambda: sockets(store) <= before, lambda: f"{sockets(store)} sockets")
    assert "Traceback" not in store.log()


ASKED = {
    "pages": request(b"/store.json?limit=1000") * 20,
    "alerts": b"".join(request(b"/alert?event=x") for _ in range(20_000)),
    "a stream": request(b"/stream", ("Last-Event-ID", "0")),
}


@pytest.mark.parametrize("asked", ASKED)
def test_who_takes_no_answer_is_let_go(start: StartStore, database_of: Any, asked: str) -> None:
    store = start(database_of("sqlite"), patience="500ms")
    large = {"text": "x" * 400_000}
    posted = requests.post(f"{store.url}/store.json", json=[large] * 20, timeout=9)
    assert posted.status_code == 201
    before = sockets(store)
    talks = [Talk(store.url, room=4096) for _ in range(10)]
    for talk in talks:
        talk.socket.settimeout(0.2)
        with suppress(TimeoutError):  # it does not take more of who takes nothing
            talk.send(ASKED[asked])
    assert max(send_honest(store, range(10))) < SOON_S
    until(lambda: sockets(store) <= before, lambda: f"{sockets(store)} sockets")
    assert memory_mib(store.process.pid) < 300
    for talk in talks:
        talk.__exit__(None, None, None)
    assert "Traceback" not in store.log()


def test_large_bodies_at_once_are_taken_or_sent_away(start: StartStore, database_of: Any) -> None:
    store = start(database_of("sqlite"), max_body="2MiB")
    most_mib = before_mib = memory_mib(store.process.pid)
    statuses: list[int] = []
    body = b'{"text":"' + b"x" * (2**21 - 20) + b'"}'
    waiting = request(b"/store.json", ("Content-Length", str(len(body))), method="POST") + body[:-1]

    def post() -> None:
        with Talk(store.url) as talk:
            try:
                try:
                    talk.send(waiting)
                finally:
                    sent.release()
                all_sent.wait(DEADLINE_S)
                talk.send(body[-1:])
                answer = talk.answer()
            except OSError:
                answer = None  # sent away before it has sent all
            statuses.append(answer.status if answer else 503)

    all_sent, sent = threading.Event(), threading.Semaphore(0)
    threads = [threading.Thread(target=post) for _ in range(60)]
    for thread in threads:
        thread.start()
    for _ in threads:
        assert sent.acquire(timeout=DEADLINE_S), "taken or sent away"
    most_mib = max(most_mib, memory_mib(store.process.pid))
    all_sent.set()
    for thread in threads:
        thread.join()
    most_mib = max(most_mib, memory_mib(store.process.pid))
    taken = statuses.count(201)
    assert set(statuses) == {201, 503}
    assert 0 < taken < 30
    print(f"{taken} of 60 taken; {before_mib:.0f} MiB before, {most_mib:.0f} at most")
    assert most_mib - before_mib < 100
    kept = requests.get(f"{store.url}/store.json", timeout=9)
    assert len(kept.json()) == taken


def test_an_answer_has_a_largest_size_and_leads_on(start: StartStore, database: str) -> None:
    store = start(database)
    for number in range(12):
        text = {"local_ip": "192.0.2.1", "remote_ip": "192.0.2.1", "number": number, "text": "x" * 1_500_000}
        assert requests.post(f"{store.url}/store.json", json=text, timeout=9).status_code == 201
    for query in ("limit=1000", "ip=192.0.2.1"):
        found: list[int] = []
        url, pages = f"/store.json?{query}", 0
        while url:
            answer = requests.get(store.url + url, timeout=9)
            assert len(answer.content) < 9 * 2**20
            found += [each["number"] for each in answer.json()]
            url = answer.links["next"]["url"] if "next" in answer.links else ""
            pages += 1
        assert found == list(range(12))[::-1]
        assert pages > 2
    with Talk(store.url) as talk:
        talk.send(request(b"/stream", ("Last-Event-ID", "0")))
        streamed = 0
        while streamed < 12 * 1_500_000:
            some = talk.socket.recv(2**20)
            assert some, f"the stream ended after {streamed} bytes"
            streamed += len(some)
    assert memory_mib(store.process.pid) < 250


def test_the_same_alert_of_another_host_is_another(start: StartStore, database_of: Any) -> None:
    """Names that only look the same when they are put together are not the same."""
    store = start(database_of("sqlite"))
    for host, id_ in (("a", "b\0c"), ("a\0b", "c")):
        answer = requests.get(f"{store.url}/alert", params=told(1, host=host, id=id_), timeout=9)
        assert answer.json() == {"new": True}
