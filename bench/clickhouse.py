# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How soon a store finds alerts, a timeline and the present among a hundred million alerts in ClickHouse."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from random import Random

import requests
from sqlalchemy import text

from bench.clickhouse_alerts import DAY_S, HOSTS, SERVICES, make
from bench.figure import Figure, median, percentile
from bench.fleet_now import NOW
from bench.store import serving
from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.migration import migrate
from tests.store.servers import clickhouse, new_database
from tests.store.serving import Store, engine_url, told

COUNT, QUICK_COUNT = 100_000_000, 30_000
DAYS, QUICK_DAYS = 30.0, 0.1
ASKED, QUICK_ASKED = 200, 2
SEARCH_MS, TIMELINE_MS, NOW_MS = 200.0, 300.0, 100.0
PATIENCE = "?send_receive_timeout=600"
SIZES = text(
    "select table, sum(bytes_on_disk), sum(rows) from system.parts where active and database = currentDatabase() "
    "group by table"
)


def measure(*, quick: bool) -> list[Figure]:
    """Return the figures; quick ones are not to be believed."""
    count, days, asked = (QUICK_COUNT, QUICK_DAYS, QUICK_ASKED) if quick else (COUNT, DAYS, ASKED)
    with clickhouse() as server:
        database, begun_s = new_database(server), time.time()
        engine = open_engine(engine_url(database + PATIENCE), connections=1)
        migrate(engine)
        with engine.begin() as connection:
            make(connection, count, days, begun_s)
            made_s = time.time() - begun_s
            sizes = {table: (size, rows) for table, size, rows in connection.execute(SIZES)}
        engine.dispose()
        with serving(database) as store:
            return [_size(sizes, made_s), *_found(store, count, days, begun_s, asked)]


def _size(sizes: dict[str, tuple[int, int]], made_s: float) -> Figure:
    rows = sizes["entry_rows"][1]
    parts = ", ".join(
        f"{table} {size / rows:.1f}" for table, (size, _) in sorted(sizes.items()) if size / rows >= 0.1
    )
    in_all = sum(size for size, _ in sizes.values()) / rows
    return Figure(
        f"ClickHouse, {rows} alerts: on disk",
        "bytes an alert",
        (in_all,),
        note=f"{parts}; made in {made_s:.0f} s",
    )


def _found(store: Store, count: int, days: float, now_s: float, asked: int) -> Iterator[Figure]:
    chance = Random(1)
    session = requests.Session()

    def within(seconds: float) -> str:
        begin_s = now_s - chance.uniform(seconds, days * DAY_S)
        return f"from={begin_s:.3f}&to={begin_s + seconds:.3f}"

    def port() -> str:
        return f"port={8000 + chance.randrange(SERVICES)}"

    span_s = min(DAY_S, days * DAY_S / 2)
    paths: dict[str, tuple[Callable[[], str], float | None]] = {
        "alerts of an hour by port": (lambda: f"/store.json?{within(span_s / 24)}&{port()}", SEARCH_MS),
        "alerts of a day by port": (lambda: f"/store.json?{within(span_s)}&{port()}", SEARCH_MS),
        "the newest alerts": (lambda: "/store.json", None),
        "timeline of a day": (lambda: f"/timeline?{within(span_s)}", TIMELINE_MS),
        "timeline of all days": (
            lambda: f"/timeline?from={now_s - days * DAY_S}&to={now_s + chance.random()}",
            None,
        ),
        "the latest episodes": (lambda: "/episodes?sort=last", None),
        "episodes of a day by port": (lambda: f"/episodes?{within(span_s)}&{port()}", None),
        "the latest episodes of a host": (
            lambda: f"/episodes?sort=last&host=web{chance.randrange(HOSTS)}.example.net",
            None,
        ),
        "what is open now": (lambda: NOW, NOW_MS),
    }
    for what, (path, goal_ms) in paths.items():
        took_ms = []
        for number in range(-1, asked):
            if path() == NOW:
                alert = told(
                    number, host="web1.example.net", seq=time.time_ns(), timestamp=f"{time.time():.6f}"
                )
                session.get(f"{store.url}/alert", params=alert, timeout=60).raise_for_status()
            begun_s = time.perf_counter()
            session.get(store.url + path(), timeout=60).raise_for_status()
            took_ms.append((time.perf_counter() - begun_s) * 1e3)
        took_ms = took_ms[1:]  # the first one reads what the store keeps from then on
        worst = percentile(took_ms, 0.99)
        yield Figure(
            f"ClickHouse, {count} alerts: {what}, the 99th of 100",
            "ms",
            (worst,),
            goal=f"at most {goal_ms:g} ms" if goal_ms else "",
            met=worst <= goal_ms if goal_ms else None,
            note=f"p50 {median(took_ms):.0f}, {asked} times",
        )
