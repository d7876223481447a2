# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Makes the tables in an empty database, and brings a database of an older edition to this one, step by step."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    LargeBinary,
    Text,
    func,
    insert,
    inspect,
    literal,
    select,
    text,
)

from sockbpf.store.data import mysql_schema
from sockbpf.store.data.clickhouse_schema import make_tables
from sockbpf.store.data.columns import COLUMNS, LATER, column_of
from sockbpf.store.data.engine import SchemaError, is_clickhouse, is_postgresql, patient
from sockbpf.store.data.episode_order import make_indexes
from sockbpf.store.data.history_tables import make_history
from sockbpf.store.data.schema import (
    EDITION,
    EDITIONS,
    ENTRY,
    EPISODE,
    HEARD,
    HEARTBEATS,
    HOST,
    METADATA,
    OPEN_AS_HEARD,
    PAIR,
    PARTITIONED,
)
from sockbpf.store.data.timeline_tables import make_timeline

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import Engine

ONE_AT_A_TIME = 7_362_531
"""Key of PostgreSQL's advisory lock for making and dropping tables: several stores share one database."""

POSTGRESQL_TYPES: dict[type, str] = {
    BigInteger: "bigint",
    Float: "double precision",
    Text: "text",
    LargeBinary: "bytea",
}


class DamagedError(Exception):
    """The file of the database is damaged: what it holds cannot have been written by a store."""


def migrate(engine: Engine) -> None:
    """Make the tables, or change those of an older edition into these: all of it, or nothing if a step fails.

    Raise SchemaError if a newer store has made them.
    """
    if engine.dialect.name == "mysql":
        with patient(engine) as connection:
            mysql_schema.make_tables(connection)
        return
    with engine.begin() as connection:
        if is_clickhouse(connection):
            make_tables(connection)
            return
        if is_postgresql(connection):
            for limit in ("statement_timeout", "lock_timeout"):  # millions of rows, or another store is at it
                connection.execute(text(f"set local {limit} = 0"))
            connection.execute(select(func.pg_advisory_xact_lock(ONE_AT_A_TIME)))
        edition = _edition(connection)
        for step in STEPS[edition:] if edition else (_make_all,):
            step(connection)
        make_indexes(connection)
        _find_heartbeats(connection)
        make_timeline(connection)
        make_history(connection)
        connection.execute(EDITIONS.delete())
        connection.execute(EDITIONS.insert(), {"edition": EDITION})
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(f"pragma user_version = {EDITION}")


def _find_heartbeats(connection: Connection) -> None:
    """Make the index by which old heartbeats are found, where it is missing; an older store does not mind it."""
    which = f"entry (coalesce(arrived, at), n) where {HEARTBEATS}"
    connection.execute(text(f"create index if not exists entry_heartbeat on {which}"))


def _edition(connection: Connection) -> int:
    """Return the edition of the database, 0 if it is empty.

    Raise SchemaError if a newer store made it, DamagedError if no store can have written that number.
    """
    there = set(inspect(connection).get_table_names())
    if EDITIONS.name not in there:
        if ENTRY.name in there:
            raise DamagedError("there are entries, but no edition")
        return 0
    edition = connection.execute(select(func.max(EDITIONS.c.edition))).scalar() or 0
    is_known = isinstance(edition, int) and 0 < edition <= EDITION
    if not is_known and connection.dialect.name == "sqlite":
        second = connection.exec_driver_sql("pragma user_version").scalar()
        if edition != second:  # a store writes the same number in both places
            raise DamagedError("its two numbers of the edition differ")
    if not is_known:
        raise SchemaError(f"the database is of edition {edition}, a newer store's; this one knows {EDITION}")
    return int(edition)


def _make_all(connection: Connection) -> None:
    if is_postgresql(connection):
        _make_partitioned(connection)
    METADATA.create_all(connection)


def _make_partitioned(connection: Connection) -> None:
    for table in PARTITIONED:
        columns = ", ".join(
            f'"{column.name}" {_type(column)}{"" if column.nullable else " not null"}'
            for column in table.columns
        )
        connection.execute(text(f'create table "{table.name}" ({columns}) partition by range (at)'))
        connection.execute(text(f'create table "{table.name}_other" partition of "{table.name}" default'))
    connection.execute(text("alter table entry add constraint entry_once unique (key, at)"))
    connection.execute(text("create index entry_n on entry (n)"))
    for table in PARTITIONED:
        for index in table.indexes:
            index.create(connection)


def _type(column: Column[object]) -> str:
    kind = POSTGRESQL_TYPES[type(column.type)]
    return f"{kind} generated by default as identity" if column.primary_key else kind


def _add_arrival_and_digest(connection: Connection) -> None:
    """Go from edition 1 to 2: each entry and episode gets its arrival and a digest, an entry also who sent it."""
    for column in (ENTRY.c.arrived, ENTRY.c.trusted, ENTRY.c.digest, EPISODE.c.arrived, EPISODE.c.digest):
        _add(connection, column)
    connection.execute(text("drop index pair_at"))
    for index in (*ENTRY.indexes, *EPISODE.indexes, *PAIR.indexes):
        if index.name in {"pair_at", "entry_arrived", "entry_anybody", "episode_arrived"}:
            index.create(connection)


def _add(connection: Connection, column: Column[Any]) -> None:
    kind = column.type.compile(connection.dialect)
    connection.execute(text(f'alter table "{column.table.name}" add column "{column.name}" {kind}'))


def _add_column_of(field: str) -> Callable[[Connection], None]:
    """Return the step that adds the column of this field to both tables, or to episodes alone."""

    def step(connection: Connection) -> None:
        for table in (ENTRY, EPISODE) if field in COLUMNS else (EPISODE,):
            _add(connection, table.c[column_of(field)])
            for index in table.indexes:
                if index.name == f"{table.name}_{field}":
                    index.create(connection)

    return step


def _add_hosts(connection: Connection) -> None:
    """Add what the state of episodes needs: of hosts it is known so far when their last alerts came."""
    for column in (EPISODE.c.seq, EPISODE.c.ended_by, EPISODE.c.trusted, EPISODE.c.stamps):
        _add(connection, column)
    HOST.create(connection)
    for index in ENTRY.indexes:
        if index.name == "entry_started":
            index.create(connection)
    for index in OPEN_AS_HEARD:
        index.create(connection)
    known = select(EPISODE.c.host, literal(1), func.max(EPISODE.c.last), func.max(HEARD))
    connection.execute(
        insert(HOST).from_select(["host", "trusted", "last", "heard"], known.group_by(EPISODE.c.host))
    )


def _add_before(connection: Connection) -> None:
    """Add what the alert before the latest one said; of episodes so far that is not known."""
    _add(connection, EPISODE.c.before)


def _add_to_hosts(column: Column[Any]) -> Callable[[Connection], None]:
    """Return the step that adds this column to the hosts, unless the table was made just now."""

    def step(connection: Connection) -> None:
        if column.name not in {each["name"] for each in inspect(connection).get_columns(HOST.name)}:
            _add(connection, column)

    return step


BEFORE_HOSTS = 17
"""So many of the later columns of fields were there before the hosts."""

STEPS: tuple[Callable[[Connection], None], ...] = (
    _make_all,
    _add_arrival_and_digest,
    *map(_add_column_of, LATER[:BEFORE_HOSTS]),
    _add_hosts,
    _add_before,
    _add_to_hosts(HOST.c.silences),
    _add_to_hosts(HOST.c.labels),
    *map(_add_column_of, LATER[BEFORE_HOSTS:]),
)
"""STEPS[n] changes edition n into n + 1; the first makes all tables of this edition in an empty database."""
