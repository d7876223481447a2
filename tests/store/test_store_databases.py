# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The databases: editions, restarts, faults; several stores on one PostgreSQL; what is too old goes by itself."""

from __future__ import annotations

import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
import requests
from sqlalchemy import text

from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.partitions import make_partitions
from sockbpf.store.data.schema import EDITION
from tests.live.waiting import until
from tests.store.asking import delete, get, post
from tests.store.conftest import StartStore
from tests.store.serving import TOKEN, engine_url, find, start_store, tell, told

DatabaseOf = Callable[[str], str]


def run(database: str, statement: str) -> None:
    """Run a statement, beside the store."""
    engine = open_engine(engine_url(database), connections=1)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_what_was_answered_is_there_after_sigkill(start: StartStore, database: str) -> None:
    store = start(database)
    for number in range(53):
        assert tell(store, **told(number)).json() == {"new": True}
    store.stop(signal.SIGKILL)
    again = start(database)
    assert len(find(again, limit=1000)) == 53
    assert all(tell(again, **told(number)).json() == {"new": False} for number in range(53))


@pytest.mark.not_clickhouse
def test_a_newer_edition_is_left_alone(start: StartStore, database: str, tmp_path: Path) -> None:
    store = start(database)
    assert tell(store, **told(1)).ok
    store.stop()
    run(database, "update store_edition set edition = 1009")
    if database.startswith("sqlite"):
        run(database, "pragma user_version = 1009")
    refused = start_store(tmp_path / "refused", database, healthy=False)
    assert refused.process.wait(30) == 1
    assert "the database is of edition 1009, a newer store's" in refused.log()
    assert "Traceback" not in refused.log()
    run(database, f"update store_edition set edition = {EDITION}")
    assert len(find(start(database))) == 1


def test_busy_or_away_is_said_and_passes(start: StartStore, tmp_path: Path) -> None:
    """Another process holds SQLite's file: 503 and when to come again, never a wrong 200; then all is well."""
    file = tmp_path / "alerts.sqlite"
    store = start(f"sqlite:///{file}")
    with closing(sqlite3.connect(file, isolation_level=None)) as holder:
        holder.execute("begin immediate")
        answer = tell(store, **told(1))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert requests.get(f"{store.url}/healthz", timeout=30).status_code == 503
        assert find(store) == []
        holder.execute("rollback")
    assert tell(store, **told(1)).json() == {"new": True}
    assert "Traceback" not in store.log()


def test_postgresql_goes_away_and_comes_back(start: StartStore, database_of: DatabaseOf) -> None:
    database = database_of("postgresql")
    store = start(database)
    assert tell(store, **told(1)).ok
    server, _, name = database.rpartition("/")
    cut = f"select pg_terminate_backend(pid) from pg_stat_activity where datname = '{name}'"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as admin:
        admin.execute(f'alter database "{name}" allow_connections false')  # type: ignore[arg-type,unused-ignore]
        admin.execute(cut)  # type: ignore[arg-type,unused-ignore]
        answer = tell(store, **told(2))
        assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
        assert requests.get(f"{store.url}/store.json", timeout=30).status_code == 503
        assert requests.get(f"{store.url}/healthz", timeout=30).status_code == 503
        admin.execute(f'alter database "{name}" allow_connections true')  # type: ignore[arg-type,unused-ignore]
    until(lambda: tell(store, **told(2)).ok, "it keeps again")
    assert len(find(store)) == 2
    assert "Traceback" not in store.log()


def test_a_password_is_not_told(database_of: DatabaseOf, tmp_path: Path) -> None:
    server = database_of("postgresql").rpartition("/")[0]
    url = f"{server.replace('postgres@', 'nosuchuser:hunter2@')}/postgres"
    store = start_store(tmp_path / "store", url, healthy=False)
    assert store.process.wait(30) == 1
    assert "store > database: " in store.log()
    assert "hunter2" not in store.log()
    assert "Traceback" not in store.log()


def test_two_stores_on_one_database_keep_each_alert_once(start: StartStore, shared: str) -> None:
    """Both get every alert at the same moment, as from a monitor with two urls."""
    stores = [start(shared), start(shared)]
    alerts = [
        told(n, id=f"{n % 101:016x}", event="ongoing", seq=n, extra="x" * (n % 3 == 0)) for n in range(1009)
    ]

    def both(alert: dict[str, str]) -> list[tuple[int, object]]:
        answers = [pool.submit(tell, store, **alert) for store in stores]
        return [(answer.result().status_code, answer.result().json()) for answer in answers]

    with ThreadPoolExecutor(16) as pool, ThreadPoolExecutor(8) as outer:
        answers = list(outer.map(both, alerts))
    again = [both_ for both_ in answers if any(status != 200 for status, _ in both_)]
    assert again == []
    said = Counter(str(sorted(body["new"] for _, body in each)) for each in answers)  # type: ignore[index]
    assert said == {"[False, True]": 1009}
    assert [len(find(store, limit=1000)) for store in stores] == [1000, 1000]
    assert len(find(stores[0], limit=1000, to=told(500)["timestamp"])) == 500
    counted = {e["id"]: e["alerts"] for e in find(stores[1], "/episodes", limit=1000)}
    assert counted == Counter(alert["id"] for alert in alerts)


def test_days_are_partitions_and_go_as_a_whole(start: StartStore, database_of: DatabaseOf) -> None:
    database = database_of("postgresql")
    store = start(database, token=TOKEN)
    now = time.time()
    engine = open_engine(engine_url(database), connections=1)
    with engine.begin() as connection:
        make_partitions(connection, now - 9 * 86400)
    for number in range(23):
        assert tell(store, **told(number, timestamp=f"{now - 9 * 86400:.6f}")).ok
        assert tell(store, **told(100 + number, timestamp=f"{now:.6f}")).ok
    day = time.strftime("%Y%m%d", time.gmtime(now - 9 * 86400))

    def tables() -> set[str]:
        with engine.begin() as connection:
            listed = "select relname from pg_class where relispartition and relkind = 'r'"
            return set(connection.execute(text(listed)).scalars())

    with engine.begin() as connection:
        assert connection.execute(text(f"select count(*) from entry_{day}")).scalar() == 23
        assert connection.execute(text("select count(*) from entry_other")).scalar() == 0
    assert delete(store, older_than="3d").json() == {"deleted": 23}
    assert f"entry_{day}" not in tables()
    assert f"pair_{day}" not in tables()
    assert {f"entry_{time.strftime('%Y%m%d', time.gmtime(now))}", "entry_other"} <= tables()
    assert len(find(store)) == 23
    engine.dispose()


def test_a_search_by_time_and_port_goes_by_its_index(tmp_path: Path) -> None:
    """Of either end: each half of the search has an index that gives it in order, and stops at the limit."""
    from sqlalchemy import select

    from sockbpf.store.data.filters import parse
    from sockbpf.store.data.migration import migrate
    from sockbpf.store.data.schema import ENTRY
    from sockbpf.store.data.search import LENGTH, _bounded, sides_of

    engine = open_engine(f"sqlite:///{tmp_path}/alerts.sqlite", connections=1)
    migrate(engine)
    asked = parse([("port", "8443"), ("from", "1795000000"), ("to", "1796000000")])
    plans = []
    with engine.begin() as connection:
        for sides in sides_of(asked):
            wanted = _bounded(select(ENTRY.c.n, ENTRY.c.at, LENGTH), ENTRY, asked, sides)
            compiled = str(wanted.compile(engine, compile_kwargs={"literal_binds": True}))
            plans.append(
                " ".join(str(row[-1]) for row in connection.execute(text(f"explain query plan {compiled}")))
            )
    engine.dispose()
    assert ["entry_local_port (local_port=? AND at>? AND at<?)" in plan for plan in plans] == [True, False]
    assert ["entry_remote_port (remote_port=? AND at>? AND at<?)" in plan for plan in plans] == [False, True]
    assert not any("TEMP B-TREE" in plan for plan in plans)


def test_stores_that_start_at_once_on_an_empty_database_make_it_once(
    start: StartStore, database_of: DatabaseOf
) -> None:
    database = database_of("postgresql")
    stores = [start(database, healthy=False) for _ in range(3)]
    for number, store in enumerate(stores):
        store.wait_healthy()
        post(store, {"n": number})
    assert [len(get(store)) for store in stores] == [3, 3, 3]
