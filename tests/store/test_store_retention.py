# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is too old goes, all of it and nothing else, by request and by itself, while others write."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import datetime, timezone

import psycopg
import pytest
import requests
from sqlalchemy import func, insert, select, update

from sockbpf.settings.store import StoreSettings as Settings
from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.partitions import make_partitions
from sockbpf.store.data.schema import EDITION, EDITIONS, ENTRY, EPISODE
from tests.live.waiting import until
from tests.store.altering import first_edition, make_older
from tests.store.asking import Object, delete, get, is_problem, post
from tests.store.conftest import StartStore
from tests.store.serving import TOKEN, Store, told

DAY_S = 86400


def url_of(database: str) -> str:
    """Return a database's URL as the store has it."""
    return Settings(database=database).database


def tables(database: str) -> set[str]:
    """Return the names of PostgreSQL's tables of entries and pairs."""
    with psycopg.connect(database) as connection:
        return {
            name
            for (name,) in connection.execute("select relname from pg_class where relkind = 'r'")
            if name.partition("_")[0] in {"entry", "pair"}
        }


def day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, timezone.utc).strftime("%Y%m%d")


def test_what_is_older_is_deleted_and_nothing_else(erasable: Store) -> None:
    count = 2311  # not a multiple of what is deleted at once
    objects: list[Object] = [{"n": n, "timestamp": 1000 + n / 8} for n in range(count)]
    post(erasable, objects)
    for number in range(3):
        requests.get(
            f"{erasable.url}/alert",
            params=told(number, timestamp=f"{1000 + number}.0"),
            headers=erasable.headers,
            timeout=9,
        )
    cut_s = 1000 + 2100 / 8
    assert delete(erasable, before=cut_s).json() == {"deleted": 2103}
    assert get(erasable, limit=1000) == objects[: 2100 - 1 : -1]
    assert get(erasable, n=7) == []  # nor is it found by its pairs
    assert requests.get(f"{erasable.url}/episodes", headers=erasable.headers, timeout=9).json() == []
    assert delete(erasable, before=cut_s).json() == {"deleted": 0}
    assert delete(erasable, before="1970-01-01T01:00:00Z").json() == {"deleted": count - 2100}


def test_an_age_is_counted_from_now(erasable: Store) -> None:
    now_s = time.time()
    ages_s = (10, 3000, 4000, 2 * DAY_S, 31 * DAY_S)
    post(erasable, [{"age": age_s, "timestamp": now_s - age_s} for age_s in ages_s])
    for older_than, left in (("30d", 4), ("24h", 3), ("1h", 2), ("20m", 1), ("0s", 0)):
        assert delete(erasable, older_than=older_than).status_code == 200
        assert [each["age"] for each in get(erasable)] == list(ages_s[:left]), older_than


def test_nothing_is_deleted_by_what_makes_no_sense(erasable: Store) -> None:
    post(erasable, {"timestamp": 1})
    for query in (
        "", "before=", "before=soon", "before=nan", "older_than=", "older_than=x", "older_than=-1d", "older_than=1y",
        "before=2&older_than=1d", "before=2&port=1", "from=0", "before=2&before=3",
    ):  # fmt: skip
        answer = requests.delete(f"{erasable.url}/store.json?{query}", headers=erasable.headers, timeout=9)
        assert is_problem(answer, 422), query
    assert get(erasable) == [{"timestamp": 1}]


@pytest.mark.not_clickhouse
def test_all_old_episodes_go_however_many(start: StartStore, database: str) -> None:
    store = start(database, token=TOKEN)
    engine = open_engine(url_of(database), connections=1)
    with engine.begin() as connection:
        rows = [
            {
                "host": "web1",
                "id": str(n),
                "start": n,
                "last": n,
                "size": 1,
                "peak": 1,
                "threshold": 1,
                "alerts": 1,
            }
            for n in range(2503)
        ]
        connection.execute(insert(EPISODE), rows)
    engine.dispose()
    assert delete(store, before=2500).json() == {"deleted": 0}
    episodes = requests.get(f"{store.url}/episodes", headers=store.headers, timeout=9).json()
    assert [each["id"] for each in episodes] == ["2502", "2501", "2500"]


@pytest.mark.not_clickhouse
def test_what_came_too_long_ago_goes_by_itself_soon_after_the_start(start: StartStore, database: str) -> None:
    for_ever = start(database, keep=0)
    post(for_ever, [{"n": 1}, {"n": 2}, {"n": 3, "timestamp": 4e9}])
    for number in (1, 2):
        assert requests.get(f"{for_ever.url}/alert", params=told(number), timeout=9).ok
    assert for_ever.stop() == 0
    make_older(database, 3 * DAY_S, at=4e9)
    make_older(database, 3 * DAY_S, id=told(2)["id"])
    store = start(database, keep="2d")
    until(lambda: "deleted 2 entries" in store.log(), "the old ones are gone")
    assert {each.get("n", each.get("id")) for each in get(store)} == {1, 2, told(1)["id"]}
    assert [each["id"] for each in requests.get(f"{store.url}/episodes", timeout=9).json()] == [told(1)["id"]]


@pytest.mark.not_clickhouse
def test_old_heartbeats_go_and_what_they_said_of_the_host_stays(start: StartStore, database: str) -> None:
    first = start(database, keep=0)
    count = 1203  # more than are deleted at once
    beats = [
        {"event": "heartbeat", "timestamp": f"{1_795_343_123 + n}.0", "host": f"web{n % 7}", "seq": "7"}
        for n in range(count)
    ]
    with requests.Session() as session:
        for beat in (*beats, told(1)):
            assert session.get(f"{first.url}/alert", params={**beat, "delivered": "12"}, timeout=9).ok
    assert first.stop() == 0
    make_older(database, 3700, event="heartbeat")
    store = start(database, keep=0)
    until(lambda: get(store, event="heartbeat") == [], "the old ones are gone")
    latest = {**beats[0], "timestamp": "1795349123.0"}
    assert requests.get(f"{store.url}/alert", params=latest, timeout=9).ok
    assert [each["timestamp"] for each in get(store, event="heartbeat")] == [1795349123.0]
    assert [each["id"] for each in get(store, event="exceeded")] == [told(1)["id"]]
    hosts = requests.get(f"{store.url}/hosts", timeout=9).json()["hosts"]
    assert {each["host"]: each["counters"].get("delivered") for each in hosts if each["host"] != "web0"} == {
        f"web{n}": 12 for n in range(1, 7)
    }


@pytest.mark.not_clickhouse
@pytest.mark.not_mysql
@pytest.mark.parametrize("edition", [1, 2])
def test_what_came_late_is_kept_as_long_as_everything_else(
    start: StartStore, database: str, edition: int
) -> None:
    """What was owed for long, or is of a host whose clock is wrong: it was answered, so it must not vanish."""
    first = start(database, keep=0)
    now_s = time.time() // 1
    assert requests.get(f"{first.url}/alert", params=told(1, timestamp=f"{now_s - 9 * DAY_S}"), timeout=9).ok
    assert first.stop() == 0
    if edition == 1:
        first_edition(database)  # which knows nothing of arrivals: what is there goes by its own time
    else:
        make_older(database, 9 * DAY_S, id=told(1)["id"])
    store = start(database, keep="2d")
    dates_s = (0.0, 1.5, now_s - 400 * DAY_S, now_s - 3 * DAY_S, now_s + 400 * DAY_S, 2e11)
    for number, at_s in enumerate(dates_s):
        late = told(100 + number, timestamp=f"{at_s:.6f}")
        assert requests.get(f"{store.url}/alert", params=late, timeout=9).json() == {"new": True}
    post(store, [{"timestamp": at_s} for at_s in dates_s])
    until(lambda: "deleted 1 entries" in store.log(), "what came long ago is gone")
    assert store.stop() == 0  # or its next round might be the one that deletes what is aged below
    again = start(database, keep="2d")  # its first round is over once what is aged here has gone
    assert requests.get(f"{again.url}/alert", params=told(7), timeout=9).ok
    assert again.stop() == 0
    make_older(database, 3 * DAY_S, id=told(7)["id"])
    third = start(database, keep="2d")
    until(lambda: "deleted 1 entries" in third.log(), "one more round is over")
    kept = get(third, limit=1000)
    assert sorted(each["timestamp"] for each in kept) == sorted([*dates_s, *dates_s]), kept
    episodes = requests.get(f"{third.url}/episodes", timeout=9).json()
    assert len(episodes) == len(dates_s)


@pytest.mark.not_clickhouse
@pytest.mark.not_mysql
def test_a_database_of_the_first_edition_loses_nothing(start: StartStore, database: str) -> None:
    first = start(database)
    for number in range(53):
        assert requests.get(f"{first.url}/alert", params=told(number), timeout=9).ok
    post(first, [{"n": number, "timestamp": number} for number in range(23)])
    entries = get(first, limit=1000)
    episodes = requests.get(f"{first.url}/episodes?limit=1000", timeout=9).json()
    assert first.stop() == 0
    first_edition(database)
    store = start(database)
    assert get(store, limit=1000) == entries
    unheard = {"state": "not-heard"}  # that edition did not keep when they came
    kept = requests.get(f"{store.url}/episodes?limit=1000", timeout=9).json()
    assert kept == [each | unheard | {"heard": each["last"]} for each in episodes]
    assert get(store, n=7) == [{"n": 7, "timestamp": 7}]
    assert requests.get(f"{store.url}/alert", params=told(7), timeout=9).json() == {"new": False}
    more = told(7, event="ongoing", seq=1009, size=2_000_003)
    assert requests.get(f"{store.url}/alert", params=more, timeout=9).json() == {"new": True}
    (episode,) = requests.get(f"{store.url}/episodes", params={"id": more["id"]}, timeout=9).json()
    assert (episode["alerts"], episode["peak"]) == (2, 2_000_003)
    engine = open_engine(url_of(database), connections=1)

    def without_sum() -> int:
        with engine.begin() as connection:
            return connection.execute(select(func.count()).where(ENTRY.c.digest.is_(None))).scalar_one()

    until(lambda: without_sum() == 0, lambda: f"{without_sum()} have no sum")
    engine.dispose()
    assert len(get(store, limit=1000)) == len(entries) + 1


def test_postgresql_drops_days_as_a_whole_and_what_is_of_no_day_goes_too(
    start: StartStore, database_of: Callable[[str], str]
) -> None:
    database = database_of("postgresql")
    store = start(database, token=TOKEN)
    now_s = time.time()
    cut_s = now_s // DAY_S * DAY_S - 9 * DAY_S  # the midnight that begins the youngest day of those that stay
    ages = (0, 9, 10, 11, 40)  # days; of the last there is no partition
    engine = open_engine(url_of(database), connections=1)
    for age in ages[1:4]:
        with engine.begin() as connection:
            make_partitions(connection, now_s - age * DAY_S)
    engine.dispose()
    post(store, [{"age": age, "timestamp": now_s - age * DAY_S} for age in ages for _ in range(7)])
    days = {age: {f"entry_{day(now_s - age * DAY_S)}", f"pair_{day(now_s - age * DAY_S)}"} for age in ages}
    assert set().union(*(days[age] for age in ages[:4])) <= tables(database)
    with psycopg.connect(database) as connection:
        row = connection.execute("select count(*) from entry_other").fetchone()
    assert row == (7,)
    assert delete(store, before=cut_s).json() == {"deleted": 21}
    assert not (days[10] | days[11]) & tables(database)
    assert days[9] | days[0] | {"entry_other", "pair_other"} <= tables(database)
    assert {each["age"] for each in get(store)} == {0, 9}
    assert delete(store, before=1e12).json() == {"deleted": 14}
    assert post(store, {"n": 1}) == 1
    today = day(time.time())
    assert {f"entry_{today}", f"pair_{today}"} <= tables(database)  # it is there again


def test_who_reads_a_day_that_is_to_be_dropped_holds_up_nobody(
    start: StartStore, database_of: Callable[[str], str], stack: ExitStack
) -> None:
    database = database_of("postgresql")
    store = start(database, token=TOKEN)
    now_s = time.time()
    engine = open_engine(url_of(database), connections=1)
    with engine.begin() as connection:
        make_partitions(connection, now_s - 5 * DAY_S)
    engine.dispose()
    post(store, [{"n": n, "timestamp": now_s - 5 * DAY_S} for n in range(3)])
    reader = stack.enter_context(psycopg.connect(database))
    reader.execute("select count(*) from entry")  # and its transaction goes on
    # The reader goes on: who waited for it would wait for ever.
    assert delete(store, older_than="2d").json() == {"deleted": 3}
    assert post(store, {"n": 3}) == 1
    assert get(store, n=0) == []


def test_writers_go_on_while_much_is_deleted(erasable: Store) -> None:
    post(erasable, [{"n": n, "timestamp": 1} for n in range(10_000)])
    over, sent, slowest_s = threading.Event(), 0, 0.0
    deleted: list[object] = []

    def remove() -> None:
        deleted.append(delete(erasable, before=2).json())
        over.set()

    remover = threading.Thread(target=remove)
    remover.start()
    with requests.Session() as session:
        while not over.is_set() or sent < 20:
            begin_s = time.monotonic()
            answer = session.get(
                f"{erasable.url}/alert", params=told(sent), headers=erasable.headers, timeout=30
            )
            slowest_s = max(slowest_s, time.monotonic() - begin_s)
            assert answer.json() == {"new": True}
            sent += 1
    remover.join()
    assert deleted == [{"deleted": 10_000}]
    assert {each["seq"] for each in get(erasable, limit=1000)} >= set(range(max(0, sent - 1000), sent))
    assert slowest_s < 5


@pytest.mark.not_clickhouse
def test_a_database_of_a_newer_store_is_left_alone(start: StartStore, database: str) -> None:
    store = start(database)
    post(store, {"n": 1})
    assert store.stop() == 0
    engine = open_engine(url_of(database), connections=1)
    with engine.begin() as connection:
        connection.execute(update(EDITIONS).values(edition=99))
        if engine.dialect.name == "sqlite":
            connection.exec_driver_sql("pragma user_version = 99")
    engine.dispose()
    command = [sys.executable, "-m", "sockbpf", "store", "-c", str(store.config)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "edition 99" in ended.stderr
    assert "newer" in ended.stderr
    assert "Traceback" not in ended.stderr
    with engine.begin() as connection:
        connection.execute(update(EDITIONS).values(edition=EDITION))
    engine.dispose()
    assert get(start(database)) == [{"n": 1}]


@pytest.mark.parametrize("keep", ["-1s", "lots", "1y"])
def test_an_age_that_makes_no_sense_is_a_fault_of_the_settings(start: StartStore, keep: str) -> None:
    store = start("sqlite:////nowhere/x", healthy=False, keep=keep)
    assert store.process.wait(60) == 2
    assert "store > keep: expected a duration" in store.log()
