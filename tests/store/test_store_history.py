# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The history by HTTP: kept once, answered in steps, by whom it may be sent, for how long it is kept."""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import requests
from sqlalchemy import text

from sockbpf.store.data.clickhouse_history import HOURS
from sockbpf.store.data.engine import open_engine
from tests.live.waiting import until
from tests.store.asking import is_problem
from tests.store.conftest import StartStore
from tests.store.history_lines import line, send
from tests.store.serving import TOKEN, Store, database_of_store, find, tell, told
from tests.store.talking import as_user

NOBODY = 65_534


def ask(store: Store, **asked: object) -> dict[str, Any]:
    return find(store, "/history", **asked)  # type: ignore[return-value]


def this_hour() -> int:
    """Return a time some minutes ago, from which on an hour's samples are of the past, in whole steps."""
    return int(time.time() - 1800) // 10 * 10


def test_what_is_told_is_kept_once_and_answered_in_steps(emptied: Store) -> None:
    at_s = this_hour()
    times = [at_s, at_s + 10, at_s + 40]
    answer = send(
        emptied,
        line(times, [1000, 8000, 20], drops=[1, 0, 5]),
        line(times, [1, 2, 3], service="5432"),
        {"no": 1},
    )
    assert answer.status_code == 200, answer.text
    assert answer.json()["samples"] == 6
    assert [refused["row"] for refused in answer.json()["refused"]] == [3]
    send(emptied, line(times, [1000, 8000, 20], drops=[1, 0, 5]))
    found = ask(emptied, from_=at_s, to=at_s + 50)
    assert found["times"] == [at_s, at_s + 10, at_s + 20, at_s + 30, at_s + 40]
    assert [(each["service"], each["size"]) for each in found["series"]] == [
        ("nginx.service", [1000, 8000, None, None, 20]), ("5432", [1, 2, None, None, 3]),
    ]  # fmt: skip
    assert found["services"][0] == {
        "host": "web1", "service": "nginx.service", "protocol": "tcp", "type": "SEND",
        "size": 8000, "fill": 80, "sockets": 0, "drops": 6,
    }  # fmt: skip
    week = ask(emptied, from_=at_s - 7 * 86_400, to=at_s + 3600, service="nginx.service", host="web1")
    assert week["width"] == 3600
    assert max(each for each in week["series"][0]["size"] if each is not None) == 8000
    assert sum(each for each in week["series"][0]["drops"] if each is not None) == 6
    few = ask(emptied, from_=at_s, to=at_s + 50, top=0, limit=1)
    assert (few["series"], len(few["services"]), few["more"]) == ([], 1, 1)
    assert ask(emptied, from_=at_s, to=at_s + 50, type="RECV")["services"] == []


def test_only_who_is_trusted_may_send(one: Store, start: StartStore, tmp_path: Path) -> None:
    at_s = this_hour()
    with as_user(NOBODY):
        assert is_problem(send(one, line([at_s], [1])), 403)
    assert is_problem(send(one, line([at_s], [1]), Origin="http://evil.example"), 403)
    assert send(one, line([at_s], [1])).ok
    locked = start(f"sqlite:///{tmp_path / 'locked.sqlite'}", token=TOKEN)
    assert is_problem(send(locked, line([at_s], [1]), Authorization="Bearer wrong"), 401)
    assert send(locked, line([at_s], [1])).ok


def test_a_question_that_makes_no_sense_is_refused(one: Store) -> None:
    for asked in (
        "top=21",
        "limit=-1",
        "host=",
        "type=RATE",
        "from=x",
        "host=a&host=b",
        "further=1",
        "to=1e400",
    ):
        assert is_problem(requests.get(f"{one.url}/history?{asked}", timeout=30), 422), asked
    assert is_problem(send(one), 422)
    body = {"data": b"no gzip", "headers": {"Content-Encoding": "gzip"}}
    assert is_problem(requests.post(f"{one.url}/history", timeout=30, **body), 400)  # type: ignore[arg-type]
    assert is_problem(send(one, line([1], [1]), **{"Content-Encoding": "br"}), 415)


def test_a_store_from_before_the_history_gets_it(
    start: StartStore, database_of: Callable[[str], str], database_kind: str
) -> None:
    database = database_of(database_kind)
    older = start(database)
    assert tell(older, **told(1)).ok
    older.stop()
    engine = open_engine(database_of_store(older), connections=1)
    with engine.begin() as connection:
        names = ["history"] if database_kind != "clickhouse" else [f"{HOURS}_of", HOURS, "history_samples"]
        for name in names:
            connection.execute(text(f"drop table {name}"))
    engine.dispose()
    store = start(database)
    at_s = this_hour()
    assert send(store, line([at_s], [5])).ok
    assert ask(store, from_=at_s, to=at_s + 10)["series"][0]["size"] == [5]
    assert len(find(store)) == 1


def test_what_is_too_old_goes_and_a_store_may_keep_none(start: StartStore, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'alerts.sqlite'}"
    now_s = int(time.time()) // 10 * 10
    store = start(database)
    assert send(store, line([now_s - 30_000, now_s - 10], [7, 9])).ok
    store.stop()
    for keep, kept in (("6h", {9}), ("0s", set[int]())):
        store = start(database, history={"keep": keep})
        until(partial(has_only, store, now_s, kept), f"what is older than {keep} is deleted")
        assert send(store, line([now_s], [1])).status_code == (200 if kept else 403)
        store.stop()


def has_only(store: Store, now_s: int, kept: set[int]) -> bool:
    found = ask(store, from_=now_s - 40_000, to=now_s)["series"]
    return {size for each in found for size in each["size"] if size is not None} == kept


def test_older_history_is_deleted_by_request_too(erasable: Store) -> None:
    at_s = this_hour() - 30_000
    assert send(erasable, line([at_s, at_s + 20_000], [7, 9])).ok
    deleted = requests.delete(
        f"{erasable.url}/store.json", params={"before": at_s + 1000}, headers=erasable.headers, timeout=60
    )
    assert deleted.json() == {"deleted": 0}
    found = ask(erasable, from_=at_s - 100, to=at_s + 21_000)["series"]
    assert {size for size in found[0]["size"] if size is not None} == {9}
