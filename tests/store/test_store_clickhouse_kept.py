# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What only ClickHouse keeps: rows of episodes that have ended, sums of hours; and what it forgets."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, func, select, text
from sqlalchemy.engine import Engine

from sockbpf.settings.store import StoreSettings as Settings
from sockbpf.store.data import clickhouse_sums, clickhouse_timeline
from sockbpf.store.data.clickhouse_ended import CLOSED_S, LATE_S
from sockbpf.store.data.clickhouse_schema import FILLED
from sockbpf.store.data.clickhouse_sums import LONG_S, MARGIN_S, make_sums
from sockbpf.store.data.clickhouse_timeline import find_timeline
from sockbpf.store.data.clickhouse_upkeep import forget_ended, keep_for
from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.entry import alert_entry
from sockbpf.store.data.episode_order import cursor_behind
from sockbpf.store.data.episode_search import find_episodes, find_page
from sockbpf.store.data.filters import parse
from sockbpf.store.data.migration import migrate
from sockbpf.store.data.rows import write
from sockbpf.store.data.schema import ENTRY, HOST
from sockbpf.store.data.timeline import window_of
from sockbpf.store.data.timeline_find import Asked
from sockbpf.store.data.words import GROUPS
from tests.store.altering import change
from tests.store.conftest import StartStore
from tests.store.servers import new_database
from tests.store.serving import tell, told

SEED = 20_261_130
NOW_S = time.time()
ALL = parse([("limit", "1000")], episodes=True)


@pytest.fixture
def engine(clickhouse_server: str) -> Iterator[Engine]:
    made = open_engine(Settings(database=new_database(clickhouse_server)).database, connections=1)
    migrate(made)
    yield made
    made.dispose()


def put(
    connection: Connection,
    number: int,
    id_: str,
    event: str,
    *ago_s: float,
    lasted_s: float = 0.0,
    trusted: bool = True,
    **further: object,
) -> None:
    """Write an alert of so many seconds ago, which came so many seconds ago."""
    at = f"{NOW_S - ago_s[0]:.6f}"
    alert = told(number, id=id_, event=event, timestamp=at, duration=lasted_s, **further)
    write(connection, [replace(alert_entry(alert), trusted=trusted)], NOW_S - ago_s[-1])


def test_a_store_does_not_load_what_the_client_would_load_with_an_insert(
    start: StartStore, clickhouse_server: str
) -> None:
    store = start(new_database(clickhouse_server))
    assert tell(store, **told(1)).ok
    mapped = Path(f"/proc/{store.process.pid}/maps").read_text()
    assert "/clickhouse_connect/" in mapped
    assert not [name for name in ("/numpy/", "/pandas/", "/pyarrow/") if name in mapped]


def test_what_has_ended_is_kept_as_a_row_which_one_replaces_that_has_what_came_late(engine: Engine) -> None:
    def among_open() -> dict[str, bool]:
        """Return the episodes among the open ones, and whether they are open."""
        rows = connection.execute(text("select id, `end` is null from open_episode"))
        return {id_: bool(is_open) for id_, is_open in rows}

    def ended() -> dict[str, int]:
        """Return the rows of those that have ended, and of how many alerts each was made."""
        return dict(connection.execute(text("select id, alerts from ended_episode")).all())

    with engine.begin() as connection:
        put(connection, 1, "open", "exceeded", 9000)
        put(connection, 2, "long-over", "exceeded", 9000)
        put(connection, 4, "long-over", "cleared", 8000)
        put(connection, 6, "just-over", "exceeded", 9000)
        put(connection, 7, "just-over", "cleared", 1)
        before = find_episodes(connection, ALL, NOW_S)
        forget_ended(connection, NOW_S, 0.0)
        assert (among_open(), ended()) == ({"open": True, "just-over": False}, {"long-over": 2})
        assert find_episodes(connection, ALL, NOW_S) == before
        put(connection, 2, "long-over", "exceeded", 9000, LATE_S + 1)
        put(connection, 3, "long-over", "ongoing", 8500, LATE_S + 1)
        assert among_open()["long-over"], "it came late, and the rest is not there"
        forget_ended(connection, NOW_S, 0.0)
        assert (among_open(), ended()) == ({"open": True, "just-over": False}, {"long-over": 3})
        put(connection, 5, "long-over", "cleared", 7900, CLOSED_S + 1, lasted_s=1100)
        forget_ended(connection, NOW_S, 0.0)
        assert (among_open(), ended()) == ({"open": True, "just-over": False}, {"long-over": 4})
        connection.exec_driver_sql("optimize table episode_rows final")
        assert connection.execute(text("select count() from episode_rows")).scalar() == 1
        forget_ended(connection, NOW_S, CLOSED_S)
        assert among_open() == {"just-over": False}, "nothing was heard of the other for longer than is kept"


def test_what_is_not_trusted_changes_nothing_of_an_episode_that_has_ended(engine: Engine) -> None:
    with engine.begin() as connection:
        put(connection, 1, "ours", "exceeded", 9000)
        put(connection, 2, "ours", "cleared", 8000, lasted_s=1000)
        forget_ended(connection, NOW_S, 0.0)
        before = find_episodes(connection, ALL, NOW_S)
        for number, event in ((3, "exceeded"), (4, "cleared")):
            put(connection, number, "ours", event, 0, CLOSED_S + 1, trusted=False)
            assert find_episodes(connection, ALL, NOW_S) == before
            forget_ended(connection, NOW_S, 0.0)
            assert find_episodes(connection, ALL, NOW_S) == before
            assert connection.execute(text("select count() from open_said")).scalar() == 0


def test_a_store_that_ends_while_it_forgets_leaves_all_to_be_found(engine: Engine) -> None:
    with engine.begin() as connection:
        put(connection, 1, "over", "exceeded", 9000)
        put(connection, 2, "over", "cleared", 8000, lasted_s=1000)
        before = find_episodes(connection, ALL, NOW_S)
        forget_ended(connection, NOW_S, 0.0)
        put(connection, 2, "over", "cleared", 8000, 8000, lasted_s=1000)
        connection.exec_driver_sql("delete from open_said where true")
        assert find_episodes(connection, ALL, NOW_S) == before
        forget_ended(connection, NOW_S, 0.0)
        assert connection.execute(text("select count() from open_sums")).scalar() == 0


@pytest.mark.parametrize("sort", ["last", "start", "peak", "size"])
def test_pages_of_episodes_from_many_hours_are_as_one_page(engine: Engine, sort: str) -> None:
    dice = random.Random(SEED)
    with engine.begin() as connection:
        for number in range(40):
            ago_s = 10 ** dice.uniform(2, 6)
            put(connection, 2 * number, f"{number:x}", "exceeded", ago_s + dice.uniform(0, 1e5), ago_s)
            if number % 4:
                put(connection, 2 * number + 1, f"{number:x}", "cleared", ago_s)
        forget_ended(connection, NOW_S, 0.0)
        whole = find_episodes(connection, parse([("limit", "1000"), ("sort", sort)], episodes=True), NOW_S)
        assert len(whole) == 40
        pages: list[dict[str, object]] = []
        cursor: list[tuple[str, str]] = []
        while True:
            wanted = parse([("limit", "7"), ("sort", sort), *cursor], episodes=True)
            rows, place = find_page(connection, wanted, NOW_S)
            pages += rows
            if place is None:
                break
            cursor = [("cursor", cursor_behind(place))]
        assert pages == whole


def test_a_timeline_by_sums_of_hours_is_the_one_by_alerts(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    dice = random.Random(SEED)
    window = window_of(NOW_S - 6 * 3600, NOW_S, 60)

    def timelines() -> list[object]:
        asked = (Asked(), Asked(type="SEND"), Asked(service="nginx"), Asked(top=1))
        return [find_timeline(connection, window, each).shown() for each in asked]

    def by_alerts() -> list[object]:
        with monkeypatch.context() as patched:
            patched.setattr(clickhouse_timeline, "SUMMED", ())
            return timelines()

    def summed() -> int:
        """Let sums be made, and have what they are made of have come a while before; return of how many hours."""
        forget_ended(connection, NOW_S, 0.0)
        hours = make_sums(connection, 0.0)
        change(connection, f"alter table hours_told update came = came - {2 * MARGIN_S} where true")
        return hours

    with engine.begin() as connection:
        for number in range(60):
            begun_s = dice.uniform(1000, 20_000)
            for part, event in enumerate(("exceeded", "ongoing", "cleared")[: dice.randrange(1, 4)]):
                put(
                    connection,
                    3 * number + part,
                    f"{number:x}",
                    event,
                    begun_s - part * dice.choice((5, 400)),
                )
        put(connection, 900, "long", "cleared", 3000, lasted_s=2 * LONG_S)
        told = by_alerts()
        assert summed() >= 5
        assert timelines() == told
        assert summed() == 0, "nothing has come since"
        put(connection, 998, "late", "exceeded", 9000, CLOSED_S + 1)
        put(connection, 999, "late", "cleared", 8990, CLOSED_S + 1)
        told_later = by_alerts()
        assert told_later != told
        assert timelines() == told_later, "an hour is read from its alerts, the others by their sums"
        with monkeypatch.context() as patched:
            for module in (clickhouse_sums, clickhouse_timeline):
                patched.setattr(module, "MOST_HOURS", 1)
            assert timelines() == told_later, "from that hour on all are"
        assert summed() >= 1
        assert timelines() == told_later
        change(connection, "alter table hour_sums update exceeded = 7 where exceeded > 0")
        assert timelines() != told_later, "the sums are read"


def test_a_store_before_ended_episodes_were_rows_gets_them(engine: Engine) -> None:
    with engine.begin() as connection:
        for number in range(20):
            put(connection, 2 * number, f"{number:x}", "exceeded", 9000 + number)
            if number % 3:
                put(connection, 2 * number + 1, f"{number:x}", "cleared", 8000)
        before = find_episodes(connection, ALL, NOW_S)
        forget_ended(connection, NOW_S, 0.0)
        for name in ("episode_rows", "hours_told", "hours_made", "hour_sums"):
            connection.exec_driver_sql(f"drop table {name}")
        for name in ("hours_told_of", "hours_told_at_end", "ended_episode", "episode", FILLED):
            connection.exec_driver_sql(f"drop view {name}")
    for _ in range(2):
        migrate(engine)
        with engine.begin() as connection:
            assert find_episodes(connection, ALL, NOW_S) == before
            assert make_sums(connection, -1.0) >= 1


def test_what_is_kept_for_how_long_is_said_to_clickhouse(engine: Engine) -> None:
    def rules(table: str) -> str:
        made = connection.execute(
            text(
                f"select create_table_query from system.tables where name = '{table}' "
                "and database = currentDatabase()"
            )
        ).scalar()
        return str(made).partition(" TTL ")[2].partition(" SETTINGS")[0]

    with engine.begin() as connection:
        put(connection, 1, "old", "exceeded", 90_000)
        put(connection, 2, "young", "exceeded", 9000)
        for number, ago_s in ((3, 4000), (4, 10)):  # before now, by which ClickHouse goes, not before NOW_S
            put(connection, number, f"beat{number}", "heartbeat", ago_s + NOW_S - time.time())
        keep_for(connection, 86_400.0, 3600.0)
        connection.exec_driver_sql("optimize table entry_rows final")
        assert set(connection.execute(select(ENTRY.c.id)).scalars()) == {"young", "beat4"}
        assert "toIntervalSecond(86400)" in rules("entry_rows")
        assert "toIntervalSecond(3600) WHERE event = 'heartbeat'" in rules("entry_rows")
        keep_for(connection, 0.0, 3600.0)
        assert "86400" not in rules("entry_rows")


def test_a_host_is_forgotten_that_was_not_heard_of_for_as_long_as_alerts_are_kept(engine: Engine) -> None:
    with engine.begin() as connection:
        for number, (host, ago_s) in enumerate((("left", 90_000.0), ("left", 87_000.0), ("quiet", 80_000.0))):
            put(connection, number, f"e{number}", "cleared", ago_s, host=host)
        put(connection, 9, "e9", "cleared", 87_000.0, 5.0, host="late")
        forget_ended(connection, NOW_S, 86_400.0)
        assert set(connection.execute(select(HOST.c.host)).scalars()) == {"quiet", "late"}
        forget_ended(connection, NOW_S, 0.0)
        assert connection.execute(select(func.count()).select_from(HOST)).scalar() == 2


def test_what_a_store_knew_of_hosts_before_each_report_was_a_row_is_taken_over(engine: Engine) -> None:
    def hosts() -> list[dict[str, object]]:
        rows = connection.execute(select(HOST).order_by(HOST.c.host)).mappings()
        return [{name: value for name, value in row.items() if name != "digest"} for row in rows]

    about: dict[str, Any] = {
        "version": "1",
        "kernel": "6.1",
        "mode": "poll",
        "labels": "dc=fra1",
        "repeat": "60",
    }
    counts: dict[str, Any] = {"events": "12", "open_episodes": "1", "lost_ago": "7"}
    with engine.begin() as connection:
        put(connection, 1, "e1", "exceeded", 90.0, host="alerts")
        for number, event in enumerate(("started", "heartbeat", "stopped")):
            for host in ("alerts", "all")[number == 2 :]:
                counts = (
                    {"events": "12", "open_episodes": "1", "lost_ago": "7"} if event == "heartbeat" else {}
                )
                put(connection, 10 + number, "", event, 80.0 - number, host=host, run="r", **about, **counts)
        put(connection, 2, "e1", "exceeded", 90.0, 1.0, host="alone", trusted=False)
        before = hosts()
        groups = {group[0]: [name for name in group if name != "is_last"] for group in GROUPS}
        states = [
            f"argMaxStateIf(tuple({', '.join(names)}), assumeNotNull({at}), {at} is not null) as g_{at}"
            for at, names in groups.items()
        ]
        connection.exec_driver_sql(
            "create table host_states engine = MergeTree order by (host, trusted) as "
            f"select host, trusted, heard, {', '.join(states)} from host group by host, trusted, heard"
        )
        connection.exec_driver_sql("truncate table host_said")
        assert hosts() == []
    for _ in range(2):
        migrate(engine)
        with engine.begin() as connection:
            assert hosts() == before
            left = "select count() from system.tables where database = currentDatabase() and name = 'host_states'"
            assert connection.exec_driver_sql(left).scalar() == 0
