# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Runs of a monitor, through HTTP: what a killed one left open ends, what is not heard of is not called over."""

from __future__ import annotations

import time
from typing import Any

import pytest
import requests
from sqlalchemy import text

from sockbpf.store.data.digest import digest_of
from sockbpf.store.data.engine import is_clickhouse, open_engine
from sockbpf.store.data.schema import EDITION, HOST
from tests.store.altering import make_host_older, make_older, third_edition
from tests.store.asking import delete, get
from tests.store.conftest import StartStore
from tests.store.serving import Store, database_of_store, find, tell, told

NOW_S = time.time() // 1


def say(store: Store, event: str, after_s: float, run: str, number: int = 1, **changed: Any) -> None:
    """Tell an alert, or a word of the monitor."""
    at = {"event": event, "timestamp": f"{NOW_S - 100 + after_s:.6f}", "run": run}
    fields = told(number, seq=round(after_s * 1000), **at, **changed)
    if event in {"started", "stopped", "heartbeat"}:
        fields = {name: fields[name] for name in (*at, "host", "seq")} | changed | {"id": run}
    answer = tell(store, **fields)
    assert answer.json() == {"new": True}, answer.text


def state(store: Store, number: int = 1) -> tuple[str, str | None, float | None]:
    (found,) = find(store, "/episodes", id=told(number)["id"])
    end = None if found["end"] is None else found["end"] - (NOW_S - 100)
    return found["state"], found["ended_by"], end


def test_what_a_killed_run_left_open_ends_when_the_next_has_started(emptied: Store) -> None:
    for number in (1, 2, 3):
        say(emptied, "exceeded", number, "r1", number)
    say(emptied, "ongoing", 20, "r2", 1)
    say(emptied, "started", 21, "r2", repeat="60.0", heartbeat="60.0", version="1")
    assert state(emptied, 1) == ("over", None, None), "it goes on in the new run"
    assert state(emptied, 2) == ("ended", "run", 21)
    say(emptied, "cleared", 22, "r2", 3)
    assert state(emptied, 3) == ("ended", "cleared", 22)
    say(emptied, "ongoing", 23, "r2", 2)
    assert state(emptied, 2) == ("over", None, None), "the later alert counts"
    assert {each["id"] for each in find(emptied, "/episodes", open="true")} == {told(n)["id"] for n in (1, 2)}
    assert {each["id"] for each in find(emptied, "/episodes", open="false")} == {told(3)["id"]}
    assert {each["run"] for each in get(emptied, run="r1")} == {"r1"}


def test_what_is_not_heard_of_is_not_called_over(emptied: Store) -> None:
    say(emptied, "exceeded", 1, "r1")
    say(emptied, "started", 0, "r1", repeat="600.0", heartbeat="60.0", version="1")
    assert state(emptied)[0] == "over"
    say(emptied, "exceeded", 2, "r1", 2, host="web2")
    database = make_old(emptied, 601)
    assert state(emptied)[0] == "silent", "three heartbeats are missing"
    assert state(emptied, 2)[0] == "not-heard", "it never told how often it tells"
    say(emptied, "heartbeat", 3, "r1", repeat="600.0", heartbeat="60.0", version="1")
    assert state(emptied)[0] == "over", "three times `repeat` have not passed"
    make_older(database, 1201, host="web1")
    assert state(emptied)[0] == "not-heard"
    say(emptied, "ongoing", 4, "r1")
    assert state(emptied)[0] == "over"
    say(emptied, "stopped", 5, "r1")
    assert state(emptied)[0] == "not-heard"


def make_old(store: Store, seconds: float) -> str:
    """Have all that it was told have come so long ago; return its database."""
    database = database_of_store(store)
    for host in ("web1", "web2"):
        make_older(database, seconds, host=host)
    engine = open_engine(database, connections=1)
    with engine.begin() as connection:
        if is_clickhouse(connection):
            for host in ("web1", "web2"):
                make_host_older(connection, seconds, host)
            return database
        for row in connection.execute(HOST.select()).mappings().all():
            made = {**row, "heard": row["heard"] - seconds}
            its = (HOST.c.host == row["host"], HOST.c.trusted == row["trusted"])
            digest = digest_of(made, HOST.c.keys())
            connection.execute(HOST.update().where(*its).values(heard=made["heard"], digest=digest))
    engine.dispose()
    return database


def test_hosts_go_with_what_they_told(erasable: Store) -> None:
    say(erasable, "exceeded", 1, "r1")
    say(erasable, "heartbeat", 2, "r1", 2, host="web2")
    assert delete(erasable, before=NOW_S).json() == {"deleted": 2}
    assert find(erasable, "/episodes") == []
    assert rows(erasable) == []


def rows(store: Store) -> list[str]:
    engine = open_engine(database_of_store(store), connections=1)
    with engine.begin() as connection:
        found = [row.host for row in connection.execute(HOST.select())]
    engine.dispose()
    return found


@pytest.mark.not_clickhouse
@pytest.mark.not_mysql
def test_an_older_database_knows_its_hosts(start: StartStore, database: str) -> None:
    first = start(database)
    for number in range(7):
        say(first, "exceeded", number, "r1", number, host=f"web{number % 2}")
    assert first.stop() == 0
    third_edition(database)
    store = start(database)
    assert sorted(rows(store)) == ["web0", "web1"]
    assert [each["state"] for each in find(store, "/episodes")] == ["over"] * 7
    say(store, "started", 50, "r2", host="web0")
    assert {each["host"] for each in find(store, "/episodes", open="true")} == {"web1"}


@pytest.mark.not_clickhouse
@pytest.mark.not_mysql
def test_a_database_without_the_latest_columns_gets_them(start: StartStore, database: str) -> None:
    first = start(database)
    say(first, "started", 0, "r1", 1, host="web0")
    say(first, "exceeded", 1, "r1", 2, host="web0")
    assert first.stop() == 0
    engine = open_engine(database_of_store(first), connections=1)
    with engine.begin() as connection:
        connection.execute(text("alter table episode drop column before"))
        connection.execute(text("alter table host drop column silences"))
        connection.execute(text("alter table host drop column labels"))
        connection.execute(text(f"update store_edition set edition = {EDITION - 3}"))
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(f"pragma user_version = {EDITION - 3}")
    engine.dispose()
    store = start(database)
    (before,) = find(store, "/episodes")
    say(store, "ongoing", 2, "r1", 3, id=before["id"], host="web0", size=before["size"] + 17)
    (incident,) = requests.get(f"{store.url}/now", timeout=30).json()["incidents"]
    assert incident["change"] == 17
    assert "\nsockbpf_store_altered_total 0" in requests.get(f"{store.url}/metrics", timeout=30).text
