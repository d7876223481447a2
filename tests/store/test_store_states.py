# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is over is the same in whatever order alerts come, however often, by however many stores, on damaged rows."""

from __future__ import annotations

import random
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, Engine, select

from sockbpf.settings.store import StoreSettings as Settings
from sockbpf.store.data.engine import is_clickhouse, open_engine
from sockbpf.store.data.episode_search import find_episodes
from sockbpf.store.data.filters import parse
from sockbpf.store.data.host_filters import HostFilter
from sockbpf.store.data.hosts_now import find_hosts
from sockbpf.store.data.joining import change_of
from sockbpf.store.data.known_rows import KnownRows
from sockbpf.store.data.migration import migrate
from sockbpf.store.data.partitions import make_partitions
from sockbpf.store.data.repair import repair
from sockbpf.store.data.rows import write
from sockbpf.store.data.schema import EPISODE, HOST
from sockbpf.store.data.search import AlteredError
from tests.store.altering import empty_tables
from tests.store.now_model import Alert, changes, is_of_episode, states

NOW_S = 20
EVENTS = ("exceeded", "ongoing", "ongoing", "cleared", "started", "started", "stopped", "heartbeat")


@st.composite
def alerts(draw: st.DrawFn) -> list[Alert]:
    count = draw(st.integers(1, 14))
    drawn = [
        Alert(
            seq,
            draw(st.sampled_from(("web1", "web2"))),
            draw(st.sampled_from(("0a", "0b"))),
            draw(st.sampled_from(EVENTS)),
            draw(st.integers(0, 9)),
            draw(st.sampled_from(("r1", "r2", "r3"))),
            draw(st.sampled_from((True, True, True, False))),
            draw(st.integers(0, NOW_S)),
            draw(st.sampled_from(("", "", "a.service", "b.service"))),
        )
        for seq in range(count)
    ]
    about_runs = {(each.host, each.run, each.event, each.at_s): each for each in drawn}  # what is one alert
    return [each for each in drawn if is_of_episode(each) or each in about_runs.values()]


@pytest.fixture
def stores(database: str) -> list[Engine]:
    """Connect twice to one new database, as two stores do."""
    url = Settings(database=database).database
    made = [open_engine(url, connections=1) for _ in range(2)]
    migrate(made[0])
    with made[0].begin() as connection:
        make_partitions(connection, 0.0)
    return made


def damage(connection: Connection, dice: random.Random) -> None:
    """Alter a row, as a disk or another program does."""
    table = dice.choice((EPISODE, HOST))
    rows = connection.execute(select(*table.primary_key.columns)).all()
    if rows:
        row = dice.choice(rows)
        which = [column == value for column, value in zip(table.primary_key.columns, row, strict=True)]
        name = dice.choice(("last", "run"))
        connection.execute(table.update().where(*which).values({name: 7.5 if name == "last" else "r9"}))


def repaired(engine: Engine, query: Callable[[Connection], object]) -> object:
    """Return what a query finds, as a store does it."""
    while True:
        with engine.begin() as connection:
            try:
                return query(connection)
            except AlteredError as altered:
                repair(connection, altered.table, altered.which)


def test_the_order_makes_no_difference(stores: list[Engine], request: pytest.FixtureRequest) -> None:
    @settings(
        max_examples=request.config.getoption("--store-orders"),
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(alerts(), st.integers(0, 2**32))
    def in_any_order(told: list[Alert], seed: int) -> None:
        dice = random.Random(seed)
        with stores[0].begin() as connection:
            empty_tables(connection)
        order = [*told, *dice.sample(told, len(told) // 2)]
        dice.shuffle(order)
        while order:
            some, order = order[: (size := dice.randrange(1, 6))], order[size:]
            with dice.choice(stores).begin() as connection:
                write(connection, [each.entry() for each in some])
                if dice.random() < 0.3 and not is_clickhouse(connection):  # which finds damage itself
                    damage(connection, dice)
        repaired(stores[0], lambda connection: find_hosts(connection, KnownRows(), NOW_S, HostFilter(9)))
        rows = repaired(stores[1], lambda connection: find_episodes(connection, EVERY, NOW_S))
        found = {
            (row["host"], row["id"]): (row["state"], row["end"], row["unit"], row["alerts"])
            for row in rows  # type: ignore[attr-defined]
        }
        assert found == states(told, NOW_S)
        with stores[1].begin() as connection:
            made = connection.execute(select(EPISODE)).mappings().all()
        assert {(row["host"], row["id"]): change_of(dict(row)) for row in made} == changes(told)
        over = repaired(stores[1], lambda connection: find_episodes(connection, ALL_OVER, NOW_S))
        assert {(row["host"], row["id"]) for row in over} == {  # type: ignore[attr-defined]
            key for key, (state, *_) in found.items() if state == "over"
        }

    in_any_order()
    for engine in stores:
        engine.dispose()


EVERY = parse([("limit", "1000")], episodes=True)
ALL_OVER = parse([("limit", "1000"), ("open", "true")], episodes=True)
