# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The tables in ClickHouse, which are no tables of episodes and hosts: their rows are made of the alerts by views.

Everything is written into one table, `incoming`, which keeps nothing. Materialised views hand each row on to tables
that keep it: as an entry, as what it says of its host, of a run that starts, of an episode that may be open. In these
tables rows with the same key are merged in the background: whatever comes twice, late, in another order or by
another store makes the same row. So any number of stores write at the same time, and none of them has a state. The
views `entry`, `pair`, `episode` and `host` have the columns of the tables of `store/data/schema.py`, and the same
queries are asked of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy.exc import SQLAlchemyError

from sockbpf.store.data.clickhouse_ended import ended_episodes, ended_of_entries
from sockbpf.store.data.clickhouse_episodes import episodes
from sockbpf.store.data.clickhouse_history import HAS_OLDER as HAS_OLDER_HISTORY
from sockbpf.store.data.clickhouse_history import HOURS, history, hours_of_older
from sockbpf.store.data.clickhouse_hosts import DROP_OLDER, HAS_OLDER, host_view, hosts, hosts_of_older
from sockbpf.store.data.clickhouse_sums import HOURS_OF_ENTRIES, hour_sums
from sockbpf.store.data.clickhouse_tables import INCOMING, columns_of_incoming, entries, listed, pairs

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sqlalchemy import Connection

KEPT = (
    "entry_rows",
    "pair_rows",
    "open_said",
    "open_sums",
    "episode_rows",
    "start_rows",
    "host_said",
    "hour_sums",
    "hours_told",
    "hours_made",
    "history_samples",
    HOURS,
)
"""The tables that keep rows."""
FILLED = "ended_are_there"
"""A view that is made once there are rows of the episodes that ended before there were such rows."""
NOT_FILLED = (
    f"select 1 where '{FILLED}' not in (select name from system.tables where database = currentDatabase())"
)


def make_tables(connection: Connection) -> None:
    """Make what is missing. Several stores may do so at the same time."""
    for statement in statements():
        connection.exec_driver_sql(statement)
    _take_over(connection, HAS_OLDER, hosts_of_older())
    for statement in (host_view(), DROP_OLDER):
        connection.exec_driver_sql(statement)
    _take_over(connection, HAS_OLDER_HISTORY, hours_of_older())
    if connection.exec_driver_sql(NOT_FILLED).first():
        if connection.exec_driver_sql("select 1 from entry_rows where is_report limit 1").first():
            for statement in (*ended_of_entries(), HOURS_OF_ENTRIES):
                connection.exec_driver_sql(statement)
        connection.exec_driver_sql(f"create or replace view {FILLED} as select 1 as one")


def _take_over(connection: Connection, has_older: str, statements: Iterable[str]) -> None:
    """Take over a table of earlier stores if it is there: another store may do so meanwhile, and drop it."""
    if not connection.exec_driver_sql(has_older).first():
        return
    try:
        for statement in statements:
            connection.exec_driver_sql(statement)
    except SQLAlchemyError:
        if connection.exec_driver_sql(has_older).first():
            raise


def statements() -> Iterator[str]:
    """Yield what makes all tables and views that are missing."""
    columns = listed(f"`{name}` {type_}" for name, type_ in columns_of_incoming())
    yield f"create table if not exists {INCOMING} ({columns}) engine = Null"
    yield from entries()
    yield from pairs()
    yield from episodes()
    yield from ended_episodes()
    yield from hour_sums()
    yield from hosts()
    yield from history()
    yield "create or replace view timeline_state as select 1 as one, 0. as filled_s, 0. as until_s"
    yield "create table if not exists probe (one UInt8, at Int64) engine = ReplacingMergeTree(at) order by one"
