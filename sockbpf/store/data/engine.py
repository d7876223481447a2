# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Connections to the database: how each kind is opened, and how long it may take."""

from __future__ import annotations

import logging
import math
import time
from contextlib import contextmanager
from string import ascii_lowercase
from typing import TYPE_CHECKING, Any

from sqlalchemy import Connection, event, func, text
from sqlalchemy.engine import create_engine, make_url
from sqlalchemy.exc import ArgumentError, NoSuchModuleError

from sockbpf.errors import SockbpfError
from sockbpf.store.data import mysql
from sockbpf.store.data.clickhouse_apart import ask_views

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import ColumnElement
    from sqlalchemy.engine import URL, Engine

EXTRAS = {"postgresql": "PostgreSQL", "mysql": "MariaDB", "clickhouse": "ClickHouse"}
"""Our extra that brings the client of a database, which is also how its URL begins -> the name of the database."""

OF_POOL: dict[str, Any] = {"max_overflow": 0, "pool_timeout": 5, "pool_use_lifo": True}
"""Of the connections the one that was used last is used next: each keeps answers of its own."""
BUSY_MS = 5000
"""How long SQLite waits for another process that has locked the file."""

PATIENCE = {
    "connect_timeout": "5",
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "20000",
    "options": "-c lock_timeout=15000 -c statement_timeout=30000 -c idle_in_transaction_session_timeout=10000",
}
"""Options of a connection to PostgreSQL, unless the URL sets them: nobody waits without end for a silent server."""

OF_CLICKHOUSE = {
    "connect_timeout": 5,
    "send_receive_timeout": 30,
    "autogenerate_session_id": False,  # a session takes one query at a time, and keeps a state
    "join_use_nulls": 1,  # as SQL has it
    "use_skip_indexes_if_final_exact_mode": 0,  # what is searched is the same in all copies of a row
}
"""Options of a connection to ClickHouse."""

FRAMES = ("np", "pd", "pd_time_test", "pl", "arrow")
"""What ClickHouse's client has of numpy, pandas, polars and pyarrow, None if they are not installed. It would import
them, where they are, for what is not asked of it here: 80 MiB of memory."""

PAGE_BYTES = 4096
"""Size of a page of SQLite's file."""

LOG_BYTES = 32 * 2**20
"""Size of the write-ahead log from which on its pages are copied into the file: a page that many transactions change
is copied once."""
CACHE_BYTES = 32 * 2**20
"""Pages that the connection that writes has in memory: all those of the indexes into which most alerts go."""

STEPS_BETWEEN_CHECKS = 20_000
"""SQLite's virtual machine runs so many steps between two checks of the time limit."""


class SchemaError(SockbpfError):
    """The database cannot be used by this store; the text says why."""


def open_engine(url: str, *, connections: int, read_only: bool = False, most_bytes: int = 0) -> Engine:
    """Return an engine for the database at this URL, with `connections` at most; it connects when it is first used.

    SQLite's file may grow to `most_bytes`; 0 is no limit. Raise SchemaError if the URL or the driver is of no use;
    the text of the error repeats nothing of the URL.
    """
    try:
        return _engine(make_url(url), connections, read_only=read_only, most_bytes=most_bytes)
    except ArgumentError:
        raise SchemaError("store > database: expected postgresql://user@host/name") from None
    except (ImportError, NoSuchModuleError):  # ClickHouse's client brings its dialect along
        extra = next(extra for extra in EXTRAS if url.startswith(extra))
        raise SchemaError(f"store > database: for {EXTRAS[extra]}, pip install 'sockbpf[{extra}]'") from None


def is_clickhouse(connection: Connection) -> bool:
    """Whether this is a connection to ClickHouse: there is no transaction, and each row that is written stays."""
    return connection.dialect.name == "clickhousedb"


def is_postgresql(connection: Connection) -> bool:
    return connection.dialect.name == "postgresql"


def is_mysql(connection: Connection) -> bool:
    """Whether this is a connection to MariaDB."""
    return connection.dialect.name == "mysql"


def in_order(connection: Connection, texts: ColumnElement[str]) -> ColumnElement[str]:
    """Return texts as all databases and Python sort them: by the number of each character."""
    return texts.collate("C") if is_postgresql(connection) else texts


def contains(connection: Connection, texts: ColumnElement[str], word: str) -> ColumnElement[bool]:
    """Return the condition that a word, in lower case, stands in these texts; the case of a to z does not count.

    That of other letters does, so that all databases compare alike.
    """
    if is_mysql(connection):  # its `lower` changes all letters
        return texts.regexp_match("".join(map(_in_any_case, word)))
    lowered = func.lower(in_order(connection, texts))
    if is_clickhouse(connection):
        return func.position(lowered, word) > 0
    return lowered.contains(word, autoescape=True)


def _in_any_case(character: str) -> str:
    """Return a pattern, of PCRE, of this character; of a letter from a to z of both cases."""
    if character in ascii_lowercase:
        return f"[{character}{character.upper()}]"
    return f"\\{character}" if character.isascii() and not character.isalnum() else character


def _engine(parsed: URL, connections: int, *, read_only: bool, most_bytes: int) -> Engine:
    if parsed.get_backend_name() == "clickhousedb":
        engine = create_engine(
            parsed,
            pool_size=connections,
            **OF_POOL,
            hide_parameters=True,
            connect_args={name: value for name, value in OF_CLICKHOUSE.items() if name not in parsed.query},
        )
        ask_views(engine)
        from clickhouse_connect.driver import options

        vars(options).update(dict.fromkeys(FRAMES))
        logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)  # it would name the server
        return engine
    if parsed.get_backend_name() == "mysql":
        return _mysql_engine(parsed, connections)
    if parsed.get_backend_name() != "sqlite":
        return create_engine(
            parsed,
            pool_size=connections,
            **OF_POOL,
            pool_pre_ping=True,
            hide_parameters=True,
            connect_args={name: value for name, value in PATIENCE.items() if name not in parsed.query},
        )
    engine = create_engine(
        parsed,
        pool_size=connections,
        **OF_POOL,
        connect_args={"check_same_thread": False, "timeout": BUSY_MS / 1000},
    )

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: object) -> None:
        connection.isolation_level = None  # the driver begins no transaction: _on_begin does
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        if read_only:
            connection.execute("pragma query_only = on")
        else:
            connection.execute(f"pragma journal_size_limit = {LOG_BYTES}")
            connection.execute(f"pragma wal_autocheckpoint = {LOG_BYTES // PAGE_BYTES}")
            connection.execute(f"pragma cache_size = -{CACHE_BYTES // 1024}")
            if most_bytes:
                connection.execute(f"pragma max_page_count = {most_bytes // PAGE_BYTES}")

    @event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("begin" if read_only else "begin immediate")

    return engine


@contextmanager
def patient(engine: Engine) -> Iterator[Connection]:
    """Give a connection of its own to the same MariaDB, which waits for each answer until it comes."""
    made = _mysql_engine(engine.url.difference_update_query(["read_timeout"]), 1, read_timeout=None)
    try:
        with made.connect() as connection:
            yield connection
    finally:
        made.dispose()


def _mysql_engine(parsed: URL, connections: int, **more: Any) -> Engine:
    patience = mysql.PATIENCE | more
    engine = create_engine(
        parsed,
        pool_size=connections,
        **OF_POOL,
        pool_pre_ping=True,
        hide_parameters=True,
        isolation_level="READ COMMITTED",  # as PostgreSQL has it
        connect_args=mysql.MODE | {n: value for n, value in patience.items() if n not in parsed.query},
    )

    @event.listens_for(engine, "do_connect")
    def _connect(dialect: Any, _: object, given: Any, named: Any) -> Any:
        try:
            return dialect.connect(*given, **named)
        except RuntimeError:  # the client lacks what this way needs
            raise SchemaError(
                "store > database: its user has another way to log in than by password"
            ) from None

    @event.listens_for(engine, "connect")
    def _on_connect(connection: Any, record: Any) -> None:
        why = mysql.begin_session(connection, record.info)
        if why:
            raise SchemaError(f"store > database: {why}")

    return engine


def bound(connection: Connection, seconds: float) -> None:
    """Set a time limit for the next statements on this connection: one that takes longer ends with an error."""
    if is_clickhouse(connection):
        connection.execution_options(settings={"max_execution_time": math.ceil(seconds)})
    elif is_postgresql(connection):
        connection.execute(text(f"set statement_timeout = {seconds * 1000:.0f}"))
    elif is_mysql(connection):
        connection.execute(text(f"set max_statement_time = {seconds:f}"))
    else:
        end_s = time.monotonic() + seconds
        sqlite: Any = connection.connection.driver_connection
        sqlite.set_progress_handler(lambda: time.monotonic() > end_s, STEPS_BETWEEN_CHECKS)
