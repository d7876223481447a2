# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""PostgreSQL's partitions: one for each day, made in advance, dropped as a whole. No other database has any."""

from __future__ import annotations

from datetime import datetime, timezone
from typing import TYPE_CHECKING

from sqlalchemy import exists, func, inspect, select, text
from sqlalchemy.exc import DBAPIError, OperationalError

from sockbpf.store.data.engine import is_postgresql
from sockbpf.store.data.migration import ONE_AT_A_TIME
from sockbpf.store.data.schema import ENTRY, PARTITIONED
from sockbpf.store.data.timeline_rows import forget_day
from sockbpf.store.data.turn import take_turn

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection

DAY_S = 86400
PATIENCE_MS = 500
"""How long dropping waits for those who read the partition; after that its rows are deleted one by one."""
DAYS = 2
"""Partitions exist for so many days, today included."""


def make_partitions(connection: Connection, now_s: float) -> None:
    """Make the partitions of today and the next days that are missing; `now_s` is Unix time."""
    if not is_postgresql(connection):
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
        return  # some entries of that day are already in the partition for any time, and stay there


def drop_partitions(connection: Connection, before_s: float, age: ColumnElement[float]) -> int:
    """Drop the partitions of days before `before_s`, Unix time; return how many entries they held.

    `age` is the time from which the age of an entry counts. A day that holds a younger one, which arrived late,
    is not dropped: its entries are deleted one by one.
    """
    if not is_postgresql(connection):
        return 0
    connection.execute(select(func.pg_advisory_xact_lock(ONE_AT_A_TIME)))
    take_turn(connection)
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
            if of == ENTRY.name:
                forget_day(connection, begin_s)
            dropped += held
    return dropped


def _has_young(connection: Connection, begin_s: float, before_s: float, age: ColumnElement[float]) -> bool:
    of_the_day = (ENTRY.c.at >= begin_s, ENTRY.c.at < begin_s + DAY_S)
    return connection.execute(select(exists().where(*of_the_day, age >= before_s))).scalar() or False


def _drop(connection: Connection, name: str) -> bool:
    """Drop a table; return False if somebody reads it: writers must not wait for that reader."""
    try:
        with connection.begin_nested():
            connection.execute(text(f"set local lock_timeout = '{PATIENCE_MS}ms'"))
            connection.execute(text(f'drop table "{name}"'))
    except OperationalError:
        return False
    return True


def _day(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, timezone.utc).strftime("%Y%m%d")
