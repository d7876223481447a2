# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a search remembers: it finds what one that remembers nothing finds, and makes again only what has changed."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, Select, select

from sockbpf.store.data.digest import digest_of
from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.known_rows import MOST_NEW, KnownRows
from sockbpf.store.data.migration import migrate
from sockbpf.store.data.schema import HOST
from sockbpf.store.data.search import AlteredError

Row = dict[str, Any]


def hosts(late_s: float = 50.0) -> Select[Any]:
    """Return a query for all hosts, with what changes while the row does not."""
    return select(HOST, (HOST.c.heard > late_s).label("late")).order_by(HOST.c.host)


@pytest.fixture
def connection(tmp_path: Path) -> Iterator[Connection]:
    engine = open_engine(f"sqlite:///{tmp_path}/alerts.sqlite", connections=1)
    migrate(engine)
    with engine.begin() as opened:
        yield opened
    engine.dispose()


def put(connection: Connection, number: int, *, has_digest: bool = True, **changed: Any) -> None:
    row = (
        dict.fromkeys(HOST.c.keys())
        | {"host": f"web{number:04}", "trusted": 1, "last": 1.0, "heard": 1.0}
        | changed
    )
    digest = digest_of(row, HOST.c.keys()) if has_digest else None
    connection.execute(HOST.delete().where(HOST.c.host == row["host"]))
    connection.execute(HOST.insert(), {**row, "digest": digest})


def test_by_a_search_that_remembers_nothing(connection: Connection) -> None:
    chance, known, there = random.Random(7), KnownRows(), 0
    before: dict[str, Row] = {}
    for _ in range(25):
        made: list[str] = []
        for number in range(there, there + chance.choice([0, 1, 7, MOST_NEW + 9])):
            put(connection, number, kernel="new", has_digest=chance.random() > 0.1)
            there = number + 1
        for number in chance.sample(range(min(there, 12)), min(there, chance.choice([0, 9]))):
            some = {"kernel": f"k{chance.random()}", "heard": float(chance.randint(1, 99))}
            put(connection, number, has_digest=chance.random() > 0.6, **some)
        connection.execute(HOST.delete().where(HOST.c.host == f"web{chance.randint(0, 999):04}"))

        def make(row: Row, made: list[str] = made) -> Row:
            made.append(row["host"])
            return row

        wanted = hosts(chance.choice([20.0, 50.0]))
        found = known.find(connection, wanted, HOST, make, "hosts")
        assert found == KnownRows().find(connection, wanted, HOST, dict, "")
        same = [row["host"] for row in found if row["digest"] is not None and before.get(row["host"]) == row]
        assert not set(same) & set(made)
        before = {row["host"]: row for row in found}
    assert there > 3 * MOST_NEW, "many were new at once"


def test_what_was_altered_is_never_returned(connection: Connection) -> None:
    known = KnownRows()
    for number in range(3):
        put(connection, number, kernel="6.1")
    assert [row["kernel"] for row in known.find(connection, hosts(), HOST, dict, "hosts")] == ["6.1"] * 3
    connection.execute(HOST.update().where(HOST.c.host == "web0001").values(kernel="evil"))
    assert [row["kernel"] for row in known.find(connection, hosts(), HOST, dict, "hosts")] == ["6.1"] * 3
    put(connection, 3, kernel="6.2")
    connection.execute(HOST.update().where(HOST.c.host == "web0003").values(kernel="evil"))
    with pytest.raises(AlteredError):
        known.find(connection, hosts(), HOST, dict, "hosts")
