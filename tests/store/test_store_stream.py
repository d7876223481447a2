# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Who listens hears everything once, in order, from where it left off, and is no burden to others."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import psycopg
import requests

from tests.live.waiting import until
from tests.store.altering import empty
from tests.store.asking import is_problem, post
from tests.store.conftest import StartStore
from tests.store.serving import Store, told
from tests.store.talking import Talk, as_user

MOST_LISTENERS, SHARE = 50, 10
DEADLINE_S = 30.0


class Listener:
    """One stream, read by a thread until it is left."""

    def __init__(self, url: str, after: int | None) -> None:
        headers = {} if after is None else {"Last-Event-ID": str(after)}
        self.answer = requests.get(f"{url}/stream", headers=headers, stream=True, timeout=DEADLINE_S)
        assert self.answer.status_code == 200, self.answer.text
        self.events: list[tuple[int, Any]] = []
        self.over = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        event: dict[str, str] = {}
        try:
            for line in self.answer.iter_lines(chunk_size=None, decode_unicode=True):
                if line:
                    name, _, value = line.partition(": ")
                    event[name] = value
                elif "data" in event:
                    assert event["event"] == "alert"
                    self.events.append((int(event["id"]), json.loads(event["data"])))
                    event = {}
        except (requests.RequestException, AttributeError, ValueError):
            pass  # it was left
        self.over.set()

    def numbers(self) -> list[Any]:
        return [each["n"] for _, each in self.events]

    def leave(self) -> None:
        connection = self.answer.raw.connection
        if connection is not None and connection.sock is not None:
            connection.sock.shutdown(socket.SHUT_RDWR)
        self._thread.join(DEADLINE_S)


@contextmanager
def listening(store: Store, after: int | None = None) -> Iterator[Listener]:
    listener = Listener(store.url, after)
    try:
        yield listener
    finally:
        listener.leave()


def listeners(store: Store) -> int:
    text = requests.get(f"{store.url}/metrics", timeout=9).text
    return int(float(text.split("\nsockbpf_store_listeners ")[1].split("\n")[0]))


def nobody_listens(store: Store) -> Callable[[], bool]:
    return lambda: listeners(store) == 0


def test_an_alert_is_heard_as_it_arrives(emptied: Store) -> None:
    with listening(emptied) as listener:
        sent = told(1, n=1)
        requests.get(f"{emptied.url}/alert", params=sent, timeout=9)
        until(lambda: listener.events, "the alert is heard", DEADLINE_S)
        ((_, heard),) = listener.events
        assert (heard["id"], heard["size"]) == (sent["id"], int(sent["size"]))
        requests.get(f"{emptied.url}/alert", params=sent, timeout=9)  # a retry is no news
        post(emptied, {"n": "last"})
        until(lambda: len(listener.events) > 1, "what was posted is heard", DEADLINE_S)
        assert listener.numbers() == ["1", "last"]
    until(nobody_listens(emptied), "the place is free again")


def test_a_listener_goes_on_from_any_event_without_gap_or_double(emptied: Store) -> None:
    count = 613  # more than are looked up at once
    with listening(emptied) as first:
        for begin in range(0, count, 100):
            post(emptied, [{"n": n} for n in range(begin, min(begin + 100, count))])
        until(lambda: len(first.events) == count, "all are heard", DEADLINE_S)
    assert first.numbers() == list(range(count))
    ids = [number for number, _ in first.events]
    assert ids == sorted(set(ids))
    for at in (0, 1, 399, count - 2):
        with listening(emptied, ids[at]) as again:
            until(lambda: len(again.events) >= count - at - 1, "the rest is heard", DEADLINE_S)  # noqa: B023
            assert again.events == first.events[at + 1 :]


def test_after_everything_was_deleted_the_next_is_still_heard(emptied: Store) -> None:
    with listening(emptied) as listener:
        post(emptied, [{"n": n, "timestamp": 1} for n in range(3)])
        until(lambda: len(listener.events) == 3, "all are heard", DEADLINE_S)
        empty(emptied)
        post(emptied, {"n": 3})
        until(lambda: len(listener.events) == 4, "the one after the deletion is heard", DEADLINE_S)
        last = listener.events[-2][0]
    with listening(emptied, last) as again:
        until(lambda: again.numbers() == [3], "it is heard by who comes back", DEADLINE_S)


def test_who_has_heard_more_than_there_ever_was_hears_what_comes(emptied: Store) -> None:
    with listening(emptied, 10**15) as listener:  # of a database that is no more
        post(emptied, {"n": 0})
        until(lambda: listener.numbers() == [0], "it is heard", DEADLINE_S)


def test_a_listener_that_reads_nothing_costs_nobody_anything_and_misses_nothing(emptied: Store) -> None:
    with ExitStack() as stack:
        slow = stack.enter_context(socket.socket())
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        host, port = emptied.url.removeprefix("http://").split(":")
        slow.connect((host, int(port)))
        slow.sendall(f"GET /stream HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
        until(lambda: listeners(emptied) == 1, "it listens")
        quick = stack.enter_context(listening(emptied))
        text, count = "x" * 20_000, 350  # 7 MB: more than all buffers on the way hold
        slowest_s = 0.0
        for n in range(0, count, 50):
            begin_s = time.monotonic()
            post(emptied, [{"n": n + m, "text": text} for m in range(50)])
            slowest_s = max(slowest_s, time.monotonic() - begin_s)
        until(lambda: len(quick.events) == count, "the quick one hears all", DEADLINE_S)
        assert slowest_s < 10
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        slow.settimeout(DEADLINE_S)
        heard, ends = bytearray(), 0
        while ends < count:
            begin = max(0, len(heard) - 2)
            got = slow.recv(1 << 20)
            assert got, "the slow one was let go"
            heard += got
            ends += heard.count(b"}\n\n", begin)
        ids = [int(line[4:]) for line in heard.split(b"\n") if line.startswith(b"id: ")]
        assert ids == [number for number, _ in quick.events]
    until(nobody_listens(emptied), "both places are free again")


def test_one_too_many_is_told_to_come_later_and_takes_no_place(emptied: Store) -> None:
    """No user has more than a share of the places, and users together leave one to who is trusted."""
    users = range(40_001, 40_008)
    with ExitStack() as stack:

        def come(uid: int) -> bool:
            with as_user(uid):
                comer = stack.enter_context(Talk(emptied.url))
            comer.send(b"GET /stream HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n")
            answer = comer.answer()
            assert answer
            assert answer.status in {200, 503}
            assert answer.status == 200 or (answer.headers["retry-after"], b"too many" in answer.body) == (
                "10",
                True,
            )
            return answer.status == 200

        taken = {uid: [come(uid) for _ in range(SHARE + 3)].count(True) for uid in users}
        assert list(taken.values()) == [SHARE] * 4 + [0] * 3
        assert listeners(emptied) == MOST_LISTENERS - SHARE
        assert [come(0) for _ in range(SHARE + 3)].count(True) == SHARE
        assert listeners(emptied) == MOST_LISTENERS
        assert post(emptied, {"n": 1}) == 1
    until(nobody_listens(emptied), "all places are free again")
    with ExitStack() as stack:
        assert come(users[-1])


def test_a_stream_shows_what_another_store_on_the_same_database_took(
    start: StartStore, shared: str, stack: ExitStack
) -> None:
    one, other = start(shared), start(shared)
    heard = stack.enter_context(listening(one))
    count = 40

    def send(store: Store, first: int) -> None:
        for number in range(count):
            post(store, [{"n": first + 100 * number + m} for m in range(17)])  # large and small: overtaking

    senders = [threading.Thread(target=send, args=pair) for pair in ((one, 0), (other, 1_000_000))]
    for each in senders:
        each.start()
    for each in senders:
        each.join()
    until(lambda: len(heard.events) >= 2 * 17 * count, "all of both are heard", DEADLINE_S)
    every = {100 * number + m for number in range(count) for m in range(17)}
    assert sorted(heard.numbers()) == sorted(every | {n + 1_000_000 for n in every})


def test_what_is_committed_late_is_still_heard(
    start: StartStore, database_of: Callable[[str], str], stack: ExitStack
) -> None:
    """A store that takes long for its transaction has the lower numbers, and comes after."""
    database = database_of("postgresql")
    store = start(database)
    slow = stack.enter_context(psycopg.connect(database))
    slow.execute("select pg_advisory_xact_lock(7362532)")  # as a store does that is about to write
    slow.execute("""insert into entry (at, body) select 1, '{"n": 0}' from generate_series(1, 700)""")
    heard = stack.enter_context(listening(store))
    poster = threading.Thread(target=post, args=(store, {"n": 1}))
    poster.start()
    until(lambda: waits(database), "the store waits for the other")
    slow.commit()
    poster.join()
    until(lambda: len(heard.events) == 701, "all are heard", DEADLINE_S)
    assert heard.numbers() == [0] * 700 + [1]


def waits(database: str) -> bool:
    with psycopg.connect(database) as connection:
        rows = connection.execute("select 1 from pg_locks where locktype = 'advisory' and not granted")
        return rows.fetchone() is not None


def test_while_the_database_is_away_listeners_are_told_so_and_come_back(
    start: StartStore, database_of: Callable[[str], str], stack: ExitStack
) -> None:
    database = database_of("postgresql")
    store = start(database)
    heard = stack.enter_context(listening(store))
    post(store, {"n": 0})
    until(lambda: heard.events, "it is heard", DEADLINE_S)
    server, _, name = database.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
        admin.execute(f'alter database "{name}" allow_connections false')  # type: ignore[arg-type,unused-ignore]
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
        assert heard.over.wait(DEADLINE_S)
        assert is_problem(requests.get(f"{store.url}/stream", timeout=DEADLINE_S), 503)
        assert is_problem(requests.get(f"{store.url}/store.json", timeout=DEADLINE_S), 503)
        assert is_problem(requests.post(f"{store.url}/store.json", json={}, timeout=DEADLINE_S), 503)
        assert is_problem(requests.get(f"{store.url}/healthz", timeout=DEADLINE_S), 503)
        admin.execute(f'alter database "{name}" allow_connections true')  # type: ignore[arg-type,unused-ignore]
    store.wait_healthy()
    post(store, {"n": 1})
    with listening(store, heard.events[0][0]) as again:
        until(lambda: again.numbers() == [1], "what came meanwhile is heard", DEADLINE_S)
    assert "Traceback" not in store.log()
