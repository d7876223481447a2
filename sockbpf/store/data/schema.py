# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The tables, the same in SQLite and PostgreSQL, and how a database of an older edition becomes one of this.

In PostgreSQL what grows is partitioned by the time of its entries, a day each, so that what is too old is dropped
as a whole. Outliers, whose time may be anything, are in a partition of their own.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Float,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
    event,
    func,
    inspect,
    select,
    text,
)
from sqlalchemy.engine import create_engine, make_url
from sqlalchemy.exc import ArgumentError

from sockbpf.errors import SockbpfError
from sockbpf.record.fields import Kind
from sockbpf.store.data.entry import COLUMNS, LATER, column_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy.engine import URL, Engine
    from sqlalchemy.types import TypeEngine

EDITION = 2 + len(LATER)
"""Of the tables, kept in the database: each later column of a field makes one."""

ONE_AT_A_TIME = 7_362_531
"""The key of the advisory lock under which PostgreSQL's tables are made and dropped: several stores share them."""

WRITING = 7_362_532
"""The key of the one under which entries are written."""

BUSY_MS = 5000
"""How long SQLite waits for another process that has the file."""

PATIENCE = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "options": "-c lock_timeout=15000 -c statement_timeout=30000 -c idle_in_transaction_session_timeout=10000",
}
"""With PostgreSQL, unless the URL says otherwise: a server that is silent must not be waited for without end."""

PAGE_BYTES = 4096
"""Of SQLite's pages."""

LOOKED_EVERY = 20_000
"""Steps of SQLite's machine from one look at the clock to the next."""

ANYBODY = "trusted = 0 or (trusted is null and key is null)"
"""Of entries, those of whoever may ask; of the first edition's, whose senders are not known, what was posted."""

METADATA = MetaData()
_N = BigInteger().with_variant(Integer, "sqlite")
_KINDS: dict[Kind, TypeEngine[Any]] = {
    Kind.TEXT: Text(),
    Kind.WHOLE: BigInteger(),
    Kind.SECONDS: Float(53),
    Kind.ADDRESS: LargeBinary(),
}


def _column(name: str) -> Column[Any]:
    """Return the column of a field."""
    return Column(column_of(name), _KINDS[COLUMNS[name]])


EDITIONS = Table("store_edition", METADATA, Column("edition", Integer, primary_key=True))

ENTRY = Table(
    "entry",
    METADATA,
    Column("n", _N, primary_key=True, autoincrement=True),
    Column("at", Float(53), nullable=False, primary_key=False),
    Column("key", LargeBinary),
    *(_column(name) for name in COLUMNS if name not in LATER),
    Column("body", Text, nullable=False),
    Column("arrived", Float(53)),
    Column("trusted", BigInteger),
    Column("digest", LargeBinary),
    *map(_column, LATER),
    UniqueConstraint("key", "at", name="entry_once"),
    Index("entry_at", "at", "n"),
    Index("entry_local_port", "local_port", "at", "n"),
    Index("entry_remote_port", "remote_port", "at", "n"),
    Index("entry_local", "local_packed", "at", "n"),
    Index("entry_remote", "remote_packed", "at", "n"),
    Index("entry_host", "host", "at", "n"),
    Index("entry_comm", "comm", "at", "n"),
    Index("entry_pid", "pid", "at", "n"),
    Index("entry_id", "id"),
    Index("entry_arrived", text("coalesce(arrived, at)")),
    *(Index(f"entry_{name}", column_of(name), "at", "n") for name in LATER),
    Index("entry_anybody", "n", sqlite_where=text(ANYBODY), postgresql_where=text(ANYBODY)),
    sqlite_autoincrement=True,  # a number is never given twice: listeners go by it
)

PAIR = Table(
    "pair",
    METADATA,
    Column("n", _N, nullable=False),
    Column("at", Float(53), nullable=False),
    Column("name", Text, nullable=False),
    Column("value", Text, nullable=False),
    Index("pair_value", "name", "value", "n"),
    Index("pair_at", "at", "n"),
)

EPISODE = Table(
    "episode",
    METADATA,
    Column("host", Text, primary_key=True),
    Column("id", Text, primary_key=True),
    Column("protocol", Text),
    Column("type", Text),
    Column("local_ip", Text),
    Column("local_packed", LargeBinary),
    Column("local_port", BigInteger),
    Column("remote_ip", Text),
    Column("remote_packed", LargeBinary),
    Column("remote_port", BigInteger),
    Column("pid", BigInteger),
    Column("comm", Text),
    Column("netns", BigInteger),
    Column("start", Float(53), nullable=False),
    Column("end", Float(53)),
    Column("last", Float(53), nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("peak", BigInteger, nullable=False),
    Column("threshold", BigInteger, nullable=False),
    Column("alerts", BigInteger, nullable=False),
    Column("arrived", Float(53)),
    Column("digest", LargeBinary),
    *map(_column, LATER),
    *(Index(f"episode_{name}", column_of(name), "start") for name in LATER),
    Index("episode_start", "start"),
    Index("episode_last", "last"),
    Index("episode_peak", "peak"),
    Index("episode_local_port", "local_port", "start"),
    Index("episode_remote_port", "remote_port", "start"),
    Index("episode_local", "local_packed", "start"),
    Index("episode_remote", "remote_packed", "start"),
    Index("episode_comm", "comm", "start"),
    Index("episode_pid", "pid", "start"),
    Index("episode_id", "id"),
    Index("episode_arrived", text("coalesce(arrived, last)")),
)
ARRIVED = func.coalesce(ENTRY.c.arrived, ENTRY.c.at)
"""When it came, by the store's clock, Unix time; of the first edition's entries only their own time is known."""
HEARD = func.coalesce(EPISODE.c.arrived, EPISODE.c.last)
"""The same of the last that was heard of an episode."""
STILL_OPEN = EPISODE.c.end.is_(None)
OPEN = [
    Index(f"episode_open_{by.name}", by, sqlite_where=STILL_OPEN, postgresql_where=STILL_OPEN)
    for by in (EPISODE.c.peak, EPISODE.c.start)
]
"""They are few."""

PARTITIONED = (ENTRY, PAIR)


class DamagedError(Exception):
    """What the database says of its own edition cannot be: its file is damaged."""


class SchemaError(SockbpfError):
    """The database is there, but not for this store."""


def open_engine(url: str, *, connections: int, read_only: bool = False, most_bytes: int = 0) -> Engine:
    """Return the database at this URL, `connections` of it at most; nothing is connected yet.

    SQLite's file grows to `most_bytes`, 0 for no limit. Raise SchemaError where it cannot be; its text holds
    nothing of the URL.
    """
    try:
        return _engine(make_url(url), connections, read_only=read_only, most_bytes=most_bytes)
    except ArgumentError:
        raise SchemaError("store > database: expected postgresql://user@host/name") from None
    except ImportError:
        raise SchemaError("store > database: for PostgreSQL, pip install 'sockbpf[postgresql]'") from None


def _engine(parsed: URL, connections: int, *, read_only: bool, most_bytes: int) -> Engine:
    if parsed.get_backend_name() != "sqlite":
        return create_engine(
            parsed,
            pool_size=connections,
            max_overflow=0,
            pool_timeout=5,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={name: value for name, value in PATIENCE.items() if name not in parsed.query},
        )
    engine = create_engine(
        parsed,
        pool_size=connections,
        max_overflow=0,
        pool_timeout=5,
        connect_args={"check_same_thread": False, "timeout": BUSY_MS / 1000},
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # transactions begin where we say so
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        if read_only:
            connection.execute("pragma query_only = on")
        else:
            connection.execute("pragma journal_size_limit = 16777216")
            if most_bytes:
                connection.execute(f"pragma max_page_count = {most_bytes // PAGE_BYTES}")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("begin" if read_only else "begin immediate")

    return engine


def bound(connection: Connection, seconds: float) -> None:
    """Have what is asked next on this connection end with an error when it takes longer."""
    if connection.dialect.name == "postgresql":
        connection.execute(text(f"set statement_timeout = {seconds * 1000:.0f}"))
    else:
        end_s = time.monotonic() + seconds
        sqlite: Any = connection.connection.driver_connection
        sqlite.set_progress_handler(lambda: time.monotonic() > end_s, LOOKED_EVERY)


def migrate(engine: Engine) -> None:
    """Make the tables, or those of an older edition into these.

    Raise SchemaError where a newer store has made them.
    """
    with engine.begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(select(func.pg_advisory_xact_lock(ONE_AT_A_TIME)))
        edition = _edition(connection)
        for step in STEPS[edition:] if edition else (_first,):
            step(connection)
        connection.execute(EDITIONS.delete())
        connection.execute(EDITIONS.insert(), {"edition": EDITION})
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql(f"pragma user_version = {EDITION}")


def _edition(connection: Connection) -> int:
    """Return which it is, 0 for a new one; raise SchemaError where it is a newer store's, or DamagedError."""
    there = set(inspect(connection).get_table_names())
    if EDITIONS.name not in there:
        if ENTRY.name in there:
            raise DamagedError("entries of no edition")
        return 0
    edition = connection.execute(select(func.max(EDITIONS.c.edition))).scalar() or 0
    is_known = isinstance(edition, int) and 0 < edition <= EDITION
    if not is_known and connection.dialect.name == "sqlite":
        twice = connection.exec_driver_sql("pragma user_version").scalar()
        if edition != twice:  # a store says it in two places
            raise DamagedError("an edition that is none")
    if not is_known:
        raise SchemaError(f"the database is of edition {edition}, a newer store's; this one knows {EDITION}")
    return int(edition)


def _first(connection: Connection) -> None:
    if connection.dialect.name == "postgresql":
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
    kind = {BigInteger: "bigint", Float: "double precision", Text: "text", LargeBinary: "bytea"}[
        type(column.type)
    ]
    return f"{kind} generated by default as identity" if column.primary_key else kind


def _second(connection: Connection) -> None:
    """Add when it came, who may have sent it and a sum to what has none of these."""
    for column in (ENTRY.c.arrived, ENTRY.c.trusted, ENTRY.c.digest, EPISODE.c.arrived, EPISODE.c.digest):
        _add(connection, column)
    connection.execute(text("drop index pair_at"))
    for index in (*ENTRY.indexes, *EPISODE.indexes, *PAIR.indexes):
        if index.name in {"pair_at", "entry_arrived", "entry_anybody", "episode_arrived"}:
            index.create(connection)


def _add(connection: Connection, column: Column[Any]) -> None:
    kind = column.type.compile(connection.dialect)
    connection.execute(text(f'alter table "{column.table.name}" add column "{column.name}" {kind}'))


def _further(field: str) -> Callable[[Connection], None]:
    """Return the step that adds the column of a field."""

    def step(connection: Connection) -> None:
        for table in (ENTRY, EPISODE):
            _add(connection, table.c[column_of(field)])
            for index in table.indexes:
                if index.name == f"{table.name}_{field}":
                    index.create(connection)

    return step


STEPS: tuple[Callable[[Connection], None], ...] = (_first, _second, *map(_further, LATER))
"""From each edition to the next one; the first makes all of the last one's."""
