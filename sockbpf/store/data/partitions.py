# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""PostgreSQL's partitions: a day each, made ahead, dropped as a whole. Other databases have none."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from sqlalchemy import exists, func, inspect, select, text
from sqlalchemy.exc import DBAPIError, OperationalError

from sockbpf.store.data.migration import ONE_AT_A_TIME
from sockbpf.store.data.schema import ENTRY, PARTITIONED

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

DAY_S = 86400
PATIENCE_MS = 500
"""How long to wait for those who read what is to be dropped; else it is emptied as other tables are."""
DAYS = 2
"""From today on so many are made ahead."""


def make_partitions(connection: Connection, now_s: float) -> None:
    """Make those from today on that are missing; `now_s` is Unix time."""
    if connection.dialect.name != "postgresql":
        return
    connection.execute(select(func.pg_advisory_xact_lock(ONE_AT_A_TIME)))
    there = set(inspect(connection).get_table_names())
    for day in range(DAYS):
        begin_s = now_s // DAY_S * DAY_S + day * DAY_S
        for table in PARTITIONED:
            name = f"{table.name}_{_day(begin_s)}"
            if name not in there:
                _make(connection, name, table.name, begin_s)


def _make(connection: Connection, name: str, of: str, begin_s: float) -> None:
    try:
        with connection.begin_nested():
            connection.execute(
                text(
                    f'create table "{name}" partition of "{of}" '
                    f"for values from ({begin_s:.0f}) to ({begin_s + DAY_S:.0f})"
                )
            )
    except DBAPIError:
        return  # the partition of outliers holds some of that day: there they stay


def drop_partitions(connection: Connection, before_s: float, age: ColumnElement[float]) -> int:
    """Drop those of days that ended before this, Unix time, with nothing in them whose `age` is counted from later.

    Return how many entries were in them. What is younger has come late: its day goes with it.
    """
    if connection.dialect.name != "postgresql":
        return 0
    connection.execute(select(func.pg_advisory_xact_lock(ONE_AT_A_TIME)))
    dropped = 0
    for name in inspect(connection).get_table_names():
        of, _, day = name.rpartition("_")
        if of not in {table.name for table in PARTITIONED} or not day.isdecimal():
            continue
        begin_s = datetime.strptime(day, "%Y%m%d").replace(tzinfo=timezone.utc).timestamp()
        if begin_s + DAY_S <= before_s and not _has_young(connection, begin_s, before_s, age):
            held = 0
            if of == ENTRY.name:
                held = connection.execute(text(f'select count(*) from "{name}"')).scalar() or 0  # noqa: S608
            if not _drop(connection, name):
                break
            dropped += held
    return dropped


def _has_young(connection: Connection, begin_s: float, before_s: float, age: ColumnElement[float]) -> bool:
    of_the_day = (ENTRY.c.at >= begin_s, ENTRY.c.at < begin_s + DAY_S)
    return connection.execute(select(exists().where(*of_the_day, age >= before_s))).scalar() or False


def _drop(connection: Connection, name: str) -> bool:
    """Drop a table, or return False: somebody reads, and whoever writes would wait as well."""
    try:
        with connection.begin_nested():
            connection.execute(text(f"set local lock_timeout = '{PATIENCE_MS}ms'"))
            connection.execute(text(f'drop table "{name}"'))
    except OperationalError:
        return False
    return True


def _day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, timezone.utc).strftime("%Y%m%d")
