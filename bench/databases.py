# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The databases that a store is measured on, each with what it takes: room, and the processor time of its server."""

from __future__ import annotations

import re
import sqlite3
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from urllib.parse import urlsplit

import psycopg
import pymysql
from sqlalchemy import Table, text

from bench.resident import TICKS, cpu_s
from sockbpf.store.data import bulk
from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.migration import migrate
from tests.store.servers import clickhouse, mysql, new_database, postgresql
from tests.store.serving import engine_url
from tests.store.talking import children

SERVERS = {"PostgreSQL": postgresql, "MariaDB": mysql, "ClickHouse": clickhouse}
SIZES = {
    "sqlite": "select page_count * page_size from pragma_page_count(), pragma_page_size()",
    "mysql": "select sum(data_length + index_length) from information_schema.tables where table_schema = database()",
    "postgresql": "select pg_database_size(current_database())",
    "clickhouse": "select sum(bytes_on_disk) from system.parts where active and database = currentDatabase()",
}
"""Asks a database how many bytes it has."""
COPIED = 5000
NUMBER_ON = {
    "mysql": "update store_turn set next_n = (select max(n) + 1 from entry)",
    "postgresql": "select setval(pg_get_serial_sequence('entry', 'n'), max(n)) from entry",
}
ANALYZE = {"mysql": "analyze table", "postgresql": "vacuum analyze"}


def copy_tables(source: Path, database: str, tables: Sequence[Table]) -> None:
    """Copy tables of SQLite's file, `entry` among them, to a new database of PostgreSQL or MariaDB."""
    engine = open_engine(engine_url(database), connections=1)
    migrate(engine)
    with engine.begin() as new, closing(sqlite3.connect(source)) as old:
        for table in tables:
            new.execute(table.delete())
            names = ", ".join(f'"{column.name}"' for column in table.columns)
            rows = old.execute(f'select {names} from "{table.name}"')
            while some := rows.fetchmany(COPIED):
                bulk.insert(new, table, some)
        new.exec_driver_sql(NUMBER_ON[engine.dialect.name])
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        names = ", ".join(table.name for table in tables)
        connection.exec_driver_sql(f"{ANALYZE[engine.dialect.name]} {names}")
    engine.dispose()


@contextmanager
def databases(folder: Path) -> Iterator[dict[str, Callable[[], str]]]:
    """Yield by name what makes a new database of a kind and returns its URL.

    Its server is run once it is needed, and another if that has ended.
    """
    with ExitStack() as stack:
        numbers = count()
        running: dict[str, str] = {}

        def new(kind: str) -> str:
            try:
                return new_database(running[kind])
            except (KeyError, OSError, psycopg.OperationalError, pymysql.OperationalError):
                running[kind] = stack.enter_context(SERVERS[kind]())
                return new_database(running[kind])

        yield {
            "SQLite": lambda: f"sqlite:///{folder}/{next(numbers)}.sqlite",
            **{kind: partial(new, kind) for kind in SERVERS},
        }


def size(database: str) -> float:
    """Return the bytes of a database."""
    engine = open_engine(engine_url(database), connections=1)
    try:
        with engine.connect() as connection:
            return float(connection.execute(text(SIZES[engine.dialect.name.removesuffix("db")])).scalar_one())
    finally:
        engine.dispose()


def server_cpu_s(database: str) -> float:
    """Return the CPU seconds that the server of a database has used, with all its processes; 0 without a server."""
    port = urlsplit(database).port
    return tree_cpu_s(listening(port)) if port else 0.0


def listening(port: int) -> int:
    """Return the process that listens at a port."""
    said = subprocess.run(["ss", "-Hltnp", f"sport = :{port}"], check=True, capture_output=True, text=True)
    pids = [int(pid) for pid in re.findall(r"pid=(\d+)", said.stdout)]
    return min(pids)


def tree_cpu_s(pid: int) -> float:
    """Return the CPU seconds of a process, of its children and of those that have ended."""
    ended = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[13:15]
    return cpu_s(pid) + sum(map(cpu_s, children(pid))) + sum(map(int, ended)) / TICKS
