# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What others have sent, or what waits, keeps no batch of a trusted client out and takes no memory without end."""

from __future__ import annotations

import asyncio
import json
import threading
import traceback
from collections.abc import Iterator, MutableMapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select
from starlette.requests import Request

from sockbpf.store.data.database import Database
from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.lanes import BEHIND_BYTES, Lane, Lanes, Work
from sockbpf.store.data.migration import migrate
from sockbpf.store.data.rows import write
from sockbpf.store.data.schema import ENTRY, EPISODE
from sockbpf.store.data.sound import is_sound_entry
from sockbpf.store.web.alerts import post_alerts
from sockbpf.store.web.crowd import Crowd
from sockbpf.store.web.guard import BODIES, TRUSTED, Guard
from sockbpf.store.web.posted_alerts import MOST_BYTES, MOST_OF_LINE, batch_of
from sockbpf.store.web.problem import Problem
from sockbpf.store.web.running_store import RunningStore
from tests.store.serving import told

MAX_BODY = 1000
Message = MutableMapping[str, Any]


def asked(*, is_trusted: bool, **headers: str) -> Message:
    return {
        "type": "http", "method": "POST", "path": "/alerts", "query_string": b"", TRUSTED: is_trusted,
        "headers": [(name.encode(), text.encode()) for name, text in headers.items()],
    }  # fmt: skip


def batch(body: bytes) -> Request:
    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    return Request(asked(is_trusted=True), receive)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[RunningStore]:
    """Make a store whose writer does not run yet."""
    file = tmp_path / "alerts.sqlite"
    with closing(Crowd(1000)) as crowd:
        yield RunningStore(Database(f"sqlite:///{file}", file), crowd, keep_s=0, history_s=0)


def long_lines(count: int) -> bytes:
    """Return alerts as long as a line may be."""
    alerts = [told(n) | {"note": ""} for n in range(count)]
    return b"\n".join(
        json.dumps(each | {"note": "x" * (MOST_OF_LINE - len(json.dumps(each)))}).encode() for each in alerts
    )


def test_who_guesses_an_alert_does_not_keep_it_out(tmp_path: Path) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'alerts.sqlite'}", connections=1)
    migrate(engine)
    body = json.dumps(told(1, event="cleared")).encode()
    with engine.begin() as connection:
        for is_trusted in (False, True):
            entries = batch_of(body, "identity", is_trusted=is_trusted).entries
            assert write(connection, [*entries, *entries]) == [True, False]
        assert connection.execute(select(ENTRY.c.trusted).order_by(ENTRY.c.n)).scalars().all() == [0, 1]
        assert connection.execute(select(EPISODE.c.trusted, EPISODE.c.alerts)).all() == [(1, 1)]
    engine.dispose()


def test_an_id_that_many_hosts_use_is_looked_through_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = open_engine(f"sqlite:///{tmp_path / 'alerts.sqlite'}", connections=1)
    migrate(engine)
    looked_at: list[object] = []

    def watched(row: Any) -> bool:
        looked_at.append(row)
        return is_sound_entry(row)

    monkeypatch.setattr("sockbpf.store.data.kept.is_sound_entry", watched)
    number = 101
    for event in ("ongoing", "cleared"):
        alerts = [told(n, host=f"h{n}", id="0a", event=event, duration="1") for n in range(number)]
        batch = batch_of("\n".join(map(json.dumps, alerts)).encode(), "identity", is_trusted=False)
        with engine.begin() as connection:
            connection.execute(EPISODE.delete())  # as if they were lost
            assert all(write(connection, batch.entries))
            found = connection.execute(select(EPISODE.c.host, EPISODE.c.alerts, EPISODE.c.end)).all()
        assert len({host for host, *_ in found}) == len(found) == number
        assert {(count, end is not None) for _, count, end in found} == {
            (2, True) if event == "cleared" else (1, False)
        }
    assert len(looked_at) == number + 2 * number
    engine.dispose()


def test_a_lane_takes_no_batch_while_many_bytes_wait() -> None:
    entries = batch_of(long_lines(MOST_BYTES // MOST_OF_LINE - 1), "identity", is_trusted=False).entries
    lanes = Lanes()
    added = 0
    while not lanes.is_behind(Lane.ANYBODY):
        lanes.add(Work(entries), Lane.ANYBODY)
        added += 1
        assert added * MOST_BYTES <= BEHIND_BYTES + MOST_BYTES
    assert not lanes.is_behind(Lane.OURS)
    assert sum(len(work.entries) for work in lanes.take()) == added * len(entries)
    assert not lanes.is_behind(Lane.ANYBODY)
    lanes.add(Work(entries), Lane.ANYBODY)
    assert not lanes.is_behind(Lane.ANYBODY), "what was taken does not count any more"


def test_a_transaction_has_few_alerts_of_long_episodes() -> None:
    """Each of them changes hundreds of rows of the timeline."""
    lines = [json.dumps(told(n, event="ongoing", duration="1e7")).encode() for n in range(100)]
    entries = batch_of(b"\n".join(lines), "identity", is_trusted=False).entries
    lanes = Lanes()
    for _ in range(10):
        lanes.add(Work(entries), Lane.ANYBODY)
    assert lanes.is_behind(Lane.ANYBODY)
    lanes.add(Work(entries[:1]), Lane.OURS)
    taken = []
    while lanes:
        taken.append([len(work.entries) for work in lanes.take()])
    assert taken[0][0] == 1, "what is trusted comes first"
    assert max(map(sum, taken)) <= 300
    assert sum(map(sum, taken)) == 1001


@pytest.mark.parametrize("waits", ["much", "too much", "the end"])
def test_a_refusal_keeps_nothing_of_what_was_refused(store: RunningStore, waits: str) -> None:
    """An exception that is raised again and again would hold the frames of each time, and what they have read."""
    (entry,) = batch_of(json.dumps(told(1)).encode(), "identity", is_trusted=True).entries
    if waits == "the end":
        store.writer.close()
    else:
        store.writer.keep([entry] * (5001 if waits == "much" else 10_000), Lane.OURS)
    depths = []
    for _ in range(3):
        sent = post_alerts(store, batch(b"{}")) if waits == "much" else store.keep([entry], Lane.OURS)
        with pytest.raises(Problem) as refused:
            asyncio.run(sent)
        depths.append(len(list(traceback.walk_tb(refused.value.__traceback__))))
    assert len(set(depths)) == 1


def test_what_keeps_the_threads_of_others_busy_keeps_no_batch_waiting(store: RunningStore) -> None:
    go = threading.Event()

    async def posted() -> bytes:
        loop = asyncio.get_running_loop()
        with ThreadPoolExecutor(1) as others:
            loop.set_default_executor(others)
            busy = loop.run_in_executor(None, go.wait, 60)
            try:
                answer = await asyncio.wait_for(post_alerts(store, batch(b"{}")), 30)
            finally:
                go.set()
            await busy
        return bytes(answer.body)

    assert json.loads(asyncio.run(posted()))["refused"][0]["row"] == 1
    assert store.refused_rows == 1


def test_a_batch_that_is_not_kept_counts_no_rows_as_refused(store: RunningStore) -> None:
    store.writer.close()
    with pytest.raises(Problem):
        asyncio.run(post_alerts(store, batch(json.dumps(told(1)).encode() + b"\n{}")))
    assert store.refused_rows == 0


def test_bodies_of_others_take_no_room_of_who_is_trusted() -> None:
    async def app(_: Message, receive: Any, send: Any) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": 200})
        await send({"type": "http.response.body"})

    async def post(guard: Guard, *messages: Message, is_trusted: bool) -> int:
        """Post; behind these messages nothing comes."""
        coming = iter(messages)
        statuses: list[int] = []

        async def receive() -> Message:
            message = next(coming, None)
            if message is None:
                reached.release()
                await asyncio.Event().wait()
            return message or {}

        async def send(message: Message) -> None:
            statuses.append(message.get("status", 0))

        await guard(asked(is_trusted=is_trusted), receive, send)
        return statuses[0]

    reached = asyncio.Semaphore(0)

    async def all_of_it() -> list[int]:
        guard = Guard(app, token=None, max_body=MAX_BODY, body_s=60, hosts=frozenset(), open_paths=())
        part = {"type": "http.request", "body": b"x" * MAX_BODY, "more_body": True}
        slow = [asyncio.create_task(post(guard, part, is_trusted=False)) for _ in range(BODIES)]
        for _ in slow:
            await reached.acquire()
        whole = {**part, "more_body": False}
        found = [await post(guard, whole, is_trusted=is_trusted) for is_trusted in (False, True)]
        for task in slow:
            task.cancel()
        await asyncio.gather(*slow, return_exceptions=True)
        return [*found, await post(guard, whole, is_trusted=False)]

    assert asyncio.run(all_of_it()) == [503, 200, 200]
