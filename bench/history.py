# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The history of a thousand services for a week on each database: its room, its cost, how soon it is answered.

How long advice takes that is made of it, too.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from threading import Event
from typing import Any

import requests
from sqlalchemy import insert, text
from sqlalchemy.engine import Engine

from bench.clickhouse import PATIENCE, SIZES
from bench.databases import server_cpu_s
from bench.figure import Figure, median, percentile
from bench.history_monitor import monitors_part
from bench.store import serving
from sockbpf.record.history import STEP_S, Sample, Samples, Series
from sockbpf.store.data import history_rows
from sockbpf.store.data.clickhouse_history import HOUR_S, HOURS, keep_history_for
from sockbpf.store.data.digest import digest_of
from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.history_rows import Cell
from sockbpf.store.data.history_tables import CELLS, HISTORY
from sockbpf.store.data.migration import migrate
from tests.store.servers import clickhouse, mysql, new_database, postgresql
from tests.store.serving import Store, engine_url

SERVICES, QUICK_SERVICES = 1000, 20
DAY_S, WEEK_S = 86_400, 7 * 86_400
ASKED, QUICK_ASKED = 60, 3
ADVISED = 5
TOLD_S = 60
"""What a monitor tells by one request."""
ROOM_GOAL, ANSWER_GOAL_MS = 50e6, 100.0
MADE_AT_ONCE = 500
OF_MYSQL = """
    select data_length + index_length from information_schema.tables
    where table_schema = database() and table_name = 'history'
"""
COMPACT = {
    "postgresql": ("vacuum full analyze history", "select pg_total_relation_size('history')"),
    "mysql": ("optimize table history", OF_MYSQL),
}
"""Has a database write its table anew, and asks it how large that is."""
OF_CLICKHOUSE = f"""
    insert into history_samples
    select 'web1', concat('service', toString(number % :services), '.service'), 'tcp', 'RECV',
        :begin + intDiv(number, :services) * {STEP_S}, 1000 * (number % :services) + rand(1) % 16384,
        intDiv(1000 * (number % :services) + rand(1) % 16384, 10240), 1 + rand(2) % 4,
        if(rand(3) % 100 = 0, rand(4) % 9, 0)
    from numbers(:count)
"""


def series_of(number: int) -> Series:
    return Series("web1", f"service{number}.service", "tcp", "RECV")


def samples_of(number: int, begin_s: int, length_s: int, chance: random.Random) -> Samples:
    """Return samples that never rest, at each look: a service that is busy all the time."""
    made: Samples = {}
    for at_s in range(begin_s, begin_s + length_s, STEP_S):
        size = 1000 * number + chance.getrandbits(14)
        drops = chance.randrange(9) if chance.random() < 0.01 else 0
        made[at_s] = Sample(size, size // 10_240, 1 + chance.getrandbits(2), drops)
    return made


def fill(engine: Engine, services: int, end_s: int) -> None:
    """Fill a database with a week: a day of samples that are made, and six that repeat it."""
    chance = random.Random(7)
    longest = CELLS[-1]
    ends = [end_s // longest * longest, end_s // CELLS[1] * CELLS[1], end_s // CELLS[0] * CELLS[0]]
    with engine.begin() as connection:
        rows = []
        for number in range(services):
            for begin_s in range(ends[0] - DAY_S, ends[0], longest):
                made = samples_of(number, begin_s, longest, chance)
                row = history_rows.row_of(Cell(series_of(number), longest, begin_s), made)
                rows += [_days_earlier(row, day) for day in range(7)]
            for cell, begin, end in ((CELLS[1], ends[0], ends[1]), (CELLS[0], ends[1], ends[2])):
                for begin_s in range(begin, end, cell):
                    made = samples_of(number, begin_s, cell, chance)
                    rows.append(history_rows.row_of(Cell(series_of(number), cell, begin_s), made))
            if len(rows) >= MADE_AT_ONCE:
                connection.execute(insert(HISTORY), rows)
                rows = []
        if rows:
            connection.execute(insert(HISTORY), rows)


def _days_earlier(row: dict[str, Any], days: int) -> dict[str, Any]:
    """Return the row of the same samples so many days earlier."""
    moved = [[hour - 24 * days, *sample] for hour, *sample in json.loads(row["hours"])]
    row = row | {"begin": row["begin"] - days * DAY_S, "hours": json.dumps(moved, separators=(",", ":"))}
    return row | {"digest": digest_of(row, history_rows.CHECKED)}


def writing(engine: Engine, url: str, services: int, begin_s: int, name: str) -> Figure:
    """Measure what an hour of a monitor's requests costs the store, the joining of rows included."""
    chance = random.Random(11)
    begun, begun_there = time.process_time(), server_cpu_s(url)
    minutes = 30
    made_s = 0.0
    for minute in range(minutes):
        making = time.process_time()
        told = {
            series_of(number): samples_of(number, begin_s + minute * TOLD_S, TOLD_S, chance)
            for number in range(services)
        }
        made_s += time.process_time() - making
        with engine.begin() as connection:
            history_rows.keep(connection, told)
    with engine.begin() as connection:
        while history_rows.join_some(connection, begin_s + 2 * CELLS[-1]):
            pass
    used_s = time.process_time() - begun - made_s
    there_s = server_cpu_s(url) - begun_there
    return Figure(
        f"history of {services} services, {name}: the store's part, each row joined twice",
        "% of a core",
        (100 * used_s / (minutes * TOLD_S),),
        note=f"and {100 * there_s / (minutes * TOLD_S):.2f} % by its server" if there_s else "",
    )


def room_of(engine: Engine, path: Path | None, days: float) -> float:
    """Return the bytes a day of a database that holds nothing else."""
    if path:
        return path.stat().st_size / days
    written_anew, size = COMPACT[engine.dialect.name]
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.exec_driver_sql(written_anew)
        return float(connection.exec_driver_sql(size).scalar_one()) / days


def asking(store: Store, services: int, end_s: int, asked: int, name: str) -> Iterator[Figure]:
    chance = random.Random(3)
    session = requests.Session()
    week = f"from={end_s - WEEK_S}&to={end_s}"

    def one() -> str:
        return f"host=web1&service=service{chance.randrange(services)}.service&protocol=tcp&type=RECV"

    questions: list[tuple[str, Callable[[], str], bool]] = [
        (
            "a week, all, the worst 5 in steps",
            lambda: f"{week}&host=web1&limit={chance.randrange(90, 110)}",
            True,
        ),
        ("a week of one service", lambda: f"{week}&{one()}", True),
        ("a day of one service", lambda: f"from={end_s - DAY_S}&to={end_s}&{one()}", False),
        (
            "an hour, all, the worst 5 in steps of 10 s",
            lambda: f"from={end_s - 3600}&to={end_s}&host=web1",
            False,
        ),
    ]
    for what, question, is_goal in questions:
        took_ms = []
        for _ in range(asked):
            target = f"{store.url}/history?{question()}"
            begun = time.perf_counter()
            answer = session.get(target, timeout=30)
            took_ms.append((time.perf_counter() - begun) * 1e3)
            assert answer.status_code == 200, answer.text
            assert answer.json()["series"], target
        yield Figure(
            f"/history of {what}, {services} services, {name}, p99 of {asked}",
            "ms",
            (percentile(took_ms, 0.99),),
            f"at most {ANSWER_GOAL_MS:g} ms" if is_goal else "",
            percentile(took_ms, 0.99) <= ANSWER_GOAL_MS if is_goal else None,
            note=f"p50 {median(took_ms):.1f}",
        )


def advising(store: Store, services: int, end_s: int, asked: int, name: str) -> Iterator[Figure]:
    """Measure advice for services that were busy at each look, and how long others wait for an answer meanwhile."""
    took_ms: list[float] = []
    waited_ms: list[float] = []
    done = Event()

    def wait() -> None:
        session = requests.Session()
        while not done.is_set():
            begun = time.perf_counter()
            assert session.get(f"{store.url}/now", timeout=30).ok
            waited_ms.append((time.perf_counter() - begun) * 1e3)

    with ThreadPoolExecutor(1) as waiting:
        beside = waiting.submit(wait)
        for number in range(asked):
            names = {**series_of(number % services)._asdict(), "from": end_s - WEEK_S, "to": end_s}
            begun = time.perf_counter()
            answer = requests.get(f"{store.url}/advice", params=names, timeout=60)
            took_ms.append((time.perf_counter() - begun) * 1e3)
            assert answer.json()["tried"], answer.text
        done.set()
        beside.result()
    what = f"a week of one of {services} services, {name}"
    yield Figure(
        f"/advice of {what}", "ms", (median(took_ms),), note=f"longest of {asked} {max(took_ms):.0f}"
    )
    yield Figure(f"/now while {what} is advised, p99", "ms", (percentile(waited_ms, 0.99),))


def _room(name: str, services: int, size: float) -> Figure:
    goal = ROOM_GOAL * services / SERVICES
    return Figure(
        f"history of {services} services, busy at each look, {name}: room",
        "bytes a day",
        (size,),
        f"at most {goal:.3g}",
        size <= goal,
        note=f"{size / services / (DAY_S / STEP_S):.2f} a sample",
    )


def _of_sql(name: str, url: str, path: Path | None, services: int, asked: int) -> Iterator[Figure]:
    end_s = int(time.time()) // CELLS[0] * CELLS[0]
    engine = open_engine(engine_url(url), connections=1)
    migrate(engine)
    fill(engine, services, end_s)
    engine.dispose()  # SQLite then writes all into its file
    yield _room(name, services, room_of(engine, path, (WEEK_S + end_s % CELLS[-1]) / DAY_S))
    with serving(url) as store:
        yield from asking(store, services, end_s, asked, name)
        yield from advising(store, services, end_s, min(asked, ADVISED), name)
    yield writing(engine, url, services, end_s + CELLS[-1], name)
    engine.dispose()


def _of_clickhouse(url: str, services: int, asked: int) -> Iterator[Figure]:
    name, end_s = "ClickHouse", int(time.time()) // STEP_S * STEP_S
    engine = open_engine(engine_url(url + PATIENCE), connections=1)
    migrate(engine)
    lately_s = end_s - HOUR_S
    with engine.begin() as connection:
        keep_history_for(connection, WEEK_S)  # as a store would, for which all rows are written anew

        def tell(begin_s: int, length_s: int) -> None:
            values = {"services": services, "begin": begin_s, "count": services * length_s // STEP_S}
            connection.execute(text(OF_CLICKHOUSE), values)

        tell(end_s - WEEK_S, WEEK_S - HOUR_S)
        for table in ("history_samples", HOURS):
            connection.exec_driver_sql(f"optimize table {table} final")
        sizes = {table: size for table, size, _ in connection.execute(SIZES)}
        for begin_s in range(lately_s, end_s, TOLD_S):  # as monitors do: ClickHouse has not merged it yet
            tell(begin_s, TOLD_S)
    engine.dispose()
    yield _room(
        name,
        services,
        sum(size for table, size in sizes.items() if table.startswith("history")) * DAY_S / (WEEK_S - HOUR_S),
    )
    with serving(url) as store:
        yield from asking(store, services, end_s, asked, name)
        yield from advising(store, services, end_s, min(asked, ADVISED), name)


def measure(*, quick: bool) -> list[Figure]:
    """Return the figures of the history; quick ones are not to be believed."""
    services, asked = (QUICK_SERVICES, QUICK_ASKED) if quick else (SERVICES, ASKED)
    figures = monitors_part(services)
    with ExitStack() as stack:
        path = Path(stack.enter_context(TemporaryDirectory())) / "alerts.sqlite"
        figures += _of_sql("SQLite", f"sqlite:///{path}", path, services, asked)
    for name, running in (("PostgreSQL", postgresql), ("MariaDB", mysql)):
        with running() as server:
            figures += _of_sql(name, new_database(server), None, services, asked)
    with clickhouse() as server:
        figures += _of_clickhouse(new_database(server), services, asked)
    return figures
