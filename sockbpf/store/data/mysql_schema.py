# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The tables in MariaDB, each made by one statement with all its indexes: each such statement commits."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import (
    BigInteger,
    Column,
    Float,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    func,
    insert,
    inspect,
    select,
    text,
)

from sockbpf.store.data.engine import SchemaError
from sockbpf.store.data.episode_order import SORTS
from sockbpf.store.data.history_tables import HISTORY
from sockbpf.store.data.mysql import UNBOUNDED
from sockbpf.store.data.schema import EDITION, EDITIONS, ENTRY, METADATA
from sockbpf.store.data.timeline_tables import make_timeline

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection

TURN = Table(
    "store_turn",
    MetaData(),
    Column("one", Integer, primary_key=True, autoincrement=False),
    Column("version", BigInteger, nullable=False),
    Column("next_n", BigInteger, nullable=False),
)
"""One row, which whoever changes entries locks: how often they were changed, and the number of the next entry."""

TYPES: dict[type, str] = {
    BigInteger: "bigint",
    Float: "double",
    Integer: "integer",
    LargeBinary: "varbinary(16)",
    Text: "varchar(256)",
}
LONG = {
    "body": "longtext", "before": "text", "counters": "text", "labels": "text", "silences": "text", "stamps": "text",
    "unseen": "text", "service": "varchar(300)",
}  # fmt: skip
"""Types of columns, by their names, whose texts are longer than those that are searched for."""
OF_HISTORY = {
    **dict.fromkeys(("host", "service"), "varchar(128)"), **dict.fromkeys(("protocol", "type"), "varchar(8)"),
    "hours": "text", "samples": "mediumblob",
}  # fmt: skip
"""Types of columns of the history, whose key has four names."""
OPTIONS = "engine = InnoDB row_format = dynamic character set utf8mb4 collate utf8mb4_nopad_bin"
"""Texts are the same only if all their characters are, and are sorted by the number of each."""
WAIT_S = 25
"""How long a store waits at a time until another one has made the tables."""

INDEXES: dict[str, tuple[str, ...]] = {
    "entry_anybody": (),
    "entry_arrived": ("arrived",),
    "entry_started": ("event", "host", "at"),
    "episode_arrived": ("arrived",),
    "episode_open_host": ("end", "host", "last"),
    "episode_open_heard": ("end", "arrived"),
}
"""Columns of indexes that elsewhere are of an expression, or of some rows alone; none: it is not needed here."""
FURTHER: dict[str, dict[str, tuple[str, ...]]] = {
    "entry": {"entry_heartbeat": ("event", "arrived")},
    "episode": {
        **{f"episode_by_{by}": (by, "host", "id") for by in SORTS},
        **{f"episode_open_by_{by}": ("end", by, "host", "id") for by in SORTS},
    },
}


def make_tables(connection: Connection) -> None:
    """Make the tables that are missing, and what is missing of them.

    What was interrupted goes on where it was: the edition is written last. The connection has no transaction yet.
    Another store that makes them is waited for until it has. Raise SchemaError if a newer store made them, or if one
    of them is not of a store.
    """
    connection.exec_driver_sql(UNBOUNDED)
    lock = {
        "name": connection.execute(text("select concat('sockbpf ', md5(database()))")).scalar(),
        "s": WAIT_S,
    }
    while not (is_mine := connection.execute(text("select get_lock(:name, :s)"), lock).scalar()):
        if is_mine is None:
            raise SchemaError("the database's server gives no lock for making its tables")
    try:
        edition = _edition(connection)
        for table in (EDITIONS, *(table for table in METADATA.sorted_tables if table is not EDITIONS), TURN):
            connection.exec_driver_sql(_create(table))
            if 0 < edition < EDITION:
                connection.exec_driver_sql(_complete(table))
        if connection.execute(select(TURN)).first() is None:
            last = connection.execute(select(func.max(ENTRY.c.n))).scalar() or 0
            connection.execute(insert(TURN), {"one": 1, "version": 0, "next_n": last + 1})
        make_timeline(connection)
        connection.execute(EDITIONS.delete())
        connection.execute(EDITIONS.insert(), {"edition": EDITION})
        connection.commit()
        connection.execute(text("do release_lock(:name)"), lock)
    except Exception:
        connection.invalidate()  # with its session the lock ends
        raise


def _edition(connection: Connection) -> int:
    """Return the edition of the database, 0 if its tables are not all there yet; raise SchemaError."""
    there = set(inspect(connection).get_table_names())
    if EDITIONS.name not in there:
        if others := there & set(METADATA.tables):
            raise SchemaError(f"the database has a table {min(others)} that is not the store's")
        return 0
    edition = connection.execute(select(func.max(EDITIONS.c.edition))).scalar() or 0
    if edition > EDITION:
        raise SchemaError(f"the database is of edition {edition}, a newer store's; this one knows {EDITION}")
    return int(edition)


def _create(table: Table) -> str:
    parts = [*_columns(table), *(f"index {name} ({columns})" for name, columns in _indexes(table))]
    if key := table.primary_key.columns.keys():
        parts.append(f"primary key ({_listed(key)})")
    unique = (each for each in table.constraints if isinstance(each, UniqueConstraint))
    parts += [f"unique {each.name!s} ({_listed(each.columns.keys())})" for each in unique]
    return f"create table if not exists {table.name} ({', '.join(parts)}) {OPTIONS}"


def _complete(table: Table) -> str:
    """Return the statement that adds what an older edition has not."""
    columns = [f"add column if not exists {column}" for column in _columns(table)]
    indexes = [f"add index if not exists {name} ({of})" for name, of in _indexes(table)]
    return f"alter table {table.name} {', '.join([*columns, *indexes])}"


def _columns(table: Table) -> Iterator[str]:
    for column in table.columns:
        of_name = OF_HISTORY if table is HISTORY else LONG
        kind = of_name.get(column.name, TYPES[type(column.type)])
        rule = "" if column.nullable else " not null"
        if column is table.autoincrement_column and column.autoincrement is True:
            rule += " auto_increment"
        yield f'"{column.name}" {kind}{rule}'


def _indexes(table: Table) -> Iterator[tuple[str, str]]:
    """Yield the name and the columns of each index."""
    for index in table.indexes:
        name = str(index.name)
        columns = INDEXES.get(name, tuple(index.columns.keys()))
        if columns:
            yield name, _listed(columns)
    for name, columns in FURTHER.get(table.name, {}).items():
        yield name, _listed(columns)


def _listed(names: tuple[str, ...] | list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
