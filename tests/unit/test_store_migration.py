# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A database of an older edition becomes one of this, step by step and as a whole or not at all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Connection, Engine, inspect, text

from sockbpf.store.data import migration
from sockbpf.store.data.engine import SchemaError, open_engine
from sockbpf.store.data.migration import STEPS, DamagedError, migrate
from sockbpf.store.data.schema import EDITION


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    made = open_engine(f"sqlite:///{tmp_path}/alerts.sqlite", connections=1)
    yield made
    made.dispose()


def edition(engine: Engine) -> list[int]:
    with engine.begin() as connection:
        return list(connection.execute(text("select edition from store_edition")).scalars())


def columns(engine: Engine) -> set[str]:
    return {column["name"] for column in inspect(engine).get_columns("entry")}


def add_color(connection: Connection) -> None:
    connection.execute(text("alter table entry add column color text default 'red'"))


def add_nonsense(connection: Connection) -> None:
    add_color(connection)
    connection.execute(text("alter table nowhere add column color text"))


def test_a_new_database_is_of_this_edition_and_stays_so(engine: Engine) -> None:
    migrate(engine)
    migrate(engine)
    assert edition(engine) == [EDITION]
    assert len(STEPS) == EDITION


def test_an_older_one_takes_the_steps_it_lacks_and_keeps_its_entries(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("insert into entry (at, body) values (1.5, '{}')"))
    monkeypatch.setattr(migration, "STEPS", (*STEPS, add_color))
    monkeypatch.setattr(migration, "EDITION", EDITION + 1)
    for _ in range(2):  # the second time there is nothing to do
        migrate(engine)
    assert edition(engine) == [EDITION + 1]
    with engine.begin() as connection:
        assert connection.execute(text("select at, body, color from entry")).all() == [(1.5, "{}", "red")]


def test_a_step_that_fails_leaves_everything_as_it_was(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate(engine)
    was = columns(engine)
    monkeypatch.setattr(migration, "STEPS", (*STEPS, add_nonsense))
    monkeypatch.setattr(migration, "EDITION", EDITION + 1)
    with pytest.raises(Exception, match="nowhere"):
        migrate(engine)
    assert columns(engine) == was
    assert edition(engine) == [EDITION]


def test_a_newer_one_is_refused_and_not_touched(engine: Engine) -> None:
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("update store_edition set edition = 1009"))
        connection.exec_driver_sql("pragma user_version = 1009")  # a store says it in two places
    with pytest.raises(SchemaError, match="edition 1009, a newer store's"):
        migrate(engine)
    assert edition(engine) == [1009]


@pytest.mark.parametrize("said", ["1009", "-1", "0", "null", "'x'", "1.5"])
def test_an_edition_that_is_said_once_is_damage(engine: Engine, said: str) -> None:
    migrate(engine)
    with engine.begin() as connection:
        connection.execute(text("alter table store_edition rename to other"))
        connection.execute(text("create table store_edition (edition)"))
        connection.execute(text(f"insert into store_edition values ({said})"))
    with pytest.raises(DamagedError):
        migrate(engine)
