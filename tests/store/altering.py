# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What nobody can do who only asks a store: empty its database, make rows older, or all of it of another edition."""

from __future__ import annotations

from sqlalchemy import Connection, select, text

from sockbpf.settings.store import StoreSettings as Settings
from sockbpf.store.data.clickhouse_schema import KEPT
from sockbpf.store.data.columns import LATER, LATER_COLUMNS, LATER_OF_EPISODES
from sockbpf.store.data.digest import digest_of
from sockbpf.store.data.engine import is_clickhouse, open_engine
from sockbpf.store.data.history_tables import HISTORY
from sockbpf.store.data.schema import ENTRY, EPISODE, HOST, PAIR
from sockbpf.store.data.timeline_tables import TIMELINE
from tests.store.serving import Store, database_of_store


def empty(store: Store) -> None:
    """Have its database hold nothing, as nobody can who only asks the store."""
    engine = open_engine(database_of_store(store), connections=1)
    with engine.begin() as connection:
        empty_tables(connection)
    engine.dispose()


def empty_tables(connection: Connection) -> None:
    if is_clickhouse(connection):
        for name in KEPT:
            connection.exec_driver_sql(f"truncate table {name}")
        return
    for table in (ENTRY, PAIR, EPISODE, HOST, TIMELINE, HISTORY):
        connection.execute(table.delete())


def make_host_older(connection: Connection, seconds: float, host: str) -> None:
    """Have the last word of a host have come so long ago, in ClickHouse."""
    change(connection, f"alter table host_said update heard = heard - {seconds} where host = '{host}'")


def change(connection: Connection, statement: str) -> None:
    """Have ClickHouse change rows, and wait for it."""
    connection.exec_driver_sql(f"{statement} settings mutations_sync = 1")


def make_older(database: str, seconds: float, **values: object) -> None:
    """Have what has these values of its columns have come so long ago, and its episode."""
    engine = open_engine(Settings(database=database).database, connections=1)
    with engine.begin() as connection:
        if is_clickhouse(connection):
            its = " and ".join(f"{name} = '{value}'" for name, value in values.items())
            change(connection, f"alter table entry_rows update arrived = arrived - {seconds} where {its}")
            if values.keys() <= {"host", "id"}:
                change(connection, f"alter table open_sums update came = came - {seconds} where {its}")
            return
        for table in (ENTRY, EPISODE):
            which = [table.c[name] == value for name, value in values.items() if name in table.c]
            if which:
                connection.execute(table.update().where(*which).values(arrived=table.c.arrived - seconds))
    engine.dispose()


def first_edition(database: str) -> None:
    """Make a database one of the first edition, as a store of then left it."""
    engine = open_engine(Settings(database=database).database, connections=1)
    with engine.begin() as connection:
        connection.execute(text("drop index pair_at"))
        connection.execute(text("create index pair_at on pair (at)"))
        connection.execute(text("drop table host"))
        of_episodes = ("arrived", "digest", *LATER_OF_EPISODES)
        for index in (
            "entry_arrived",
            "entry_anybody",
            "entry_heartbeat",
            "entry_started",
            "episode_open_host",
            "episode_open_heard",
            "episode_arrived",
        ):
            connection.execute(text(f"drop index {index}"))
        for table, names in (("entry", ("arrived", "trusted", "digest")), ("episode", of_episodes)):
            for name in LATER:
                connection.execute(text(f"drop index if exists {table}_{name}"))
            for name in (*names, *(name for name in LATER_COLUMNS if table == "episode" or name in ENTRY.c)):
                connection.execute(text(f'alter table {table} drop column "{name}"'))
        connection.execute(text("update store_edition set edition = 1"))
    engine.dispose()


def third_edition(database: str) -> None:
    """Make a database one of the third edition, as a store of then left it: later columns are left out."""
    engine = open_engine(Settings(database=database).database, connections=1)
    later = (*LATER_COLUMNS[1:], *LATER_OF_EPISODES)
    with engine.begin() as connection:
        connection.execute(text("drop table host"))
        for index in ("entry_started", "episode_open_host", "episode_open_heard"):
            connection.execute(text(f"drop index {index}"))
        for table in (ENTRY, EPISODE):
            for row in connection.execute(select(table)).mappings().all():
                digest = digest_of({**row, **dict.fromkeys(later)}, table.c.keys())
                its = [column == row[column.name] for column in table.primary_key]
                connection.execute(table.update().where(*its).values(digest=digest))
            for name in later:
                connection.execute(text(f"drop index if exists {table.name}_{name}"))
                if name in table.c and (table is EPISODE or name != "trusted"):
                    connection.execute(text(f'alter table {table.name} drop column "{name}"'))
        connection.execute(text("update store_edition set edition = 3"))
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("pragma user_version = 3")
    engine.dispose()
