# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What ClickHouse is asked besides reading and writing alerts: whether it works, and to delete what is old."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from sockbpf.record.alert import HEARTBEAT
from sockbpf.store.data.clickhouse_ended import CLOSED_S, OF_OPEN, leave_out_untrusted, settle

if TYPE_CHECKING:
    from sqlalchemy import Connection

ARRIVALS = {
    "entry_rows": "arrived",
    "pair_rows": "arrived",
    "start_rows": "arrived",
    "episode_rows": "assumeNotNull(arrived)",
    "hour_sums": "made",
    "hours_told": "came",
    "hours_made": "made",
}
"""Tables whose rows go by their age, and when they arrived."""
MADE = "select create_table_query from system.tables where database = currentDatabase() and name = :name"
LEFT = "(host, id, trusted) not in (select host, id, trusted from open_said)"
OWN_TIMES = {"entry_rows": "at", "pair_rows": "at", "start_rows": "at", "episode_rows": "last"}


def try_out(connection: Connection) -> None:
    """Write something and read it again; raise SQLAlchemyError."""
    now_ns = time.time_ns()
    connection.execute(text("insert into probe (one, at) select 1, :at"), {"at": now_ns})
    read = connection.execute(text("select max(at) from probe")).scalar()
    if read is None or read < now_ns:
        raise DatabaseError("probe", None, sqlite3.DatabaseError("not what was written"))


def keep_for(connection: Connection, keep_s: float, heartbeats_s: float) -> None:
    """Have ClickHouse delete what arrived longer ago than `keep_s`, 0 for never, and heartbeats after `heartbeats_s`.

    It does so when it merges: some hours later.
    """
    for table, arrived in ARRIVALS.items():
        age = f"toDateTime({arrived}, 'UTC') + toIntervalSecond"
        rules = [f"{age}({keep_s:.0f})"] if keep_s else []
        if table == "entry_rows":
            rules.append(f"{age}({heartbeats_s:.0f}) delete where event = '{HEARTBEAT}'")
        made = str(connection.execute(text(MADE), {"name": table}).scalar())
        if made.count("toIntervalSecond") == len(rules) and all(
            f"({rule.split('(')[-1]}" in made for rule in rules
        ):
            continue
        if rules:
            connection.exec_driver_sql(f"alter table {table} modify ttl {', '.join(rules)}")
        else:
            connection.exec_driver_sql(f"alter table {table} remove ttl")


def forget_ended(connection: Connection, now_s: float, keep_s: float) -> None:
    """Have the tables of open episodes hold those alone that are open, or ended a while before `now_s`, Unix time.

    With `keep_s`, seconds, what was not heard of for so long goes too.
    """
    leave_out_untrusted(connection)
    while settle(connection, now_s, time.time_ns()):
        pass
    settle(connection, now_s, time.time_ns(), are_old=True)
    times = {"closed": now_s - CLOSED_S}
    left = f"came < :closed and {LEFT}"  # by a store that ended in the middle of this
    if connection.execute(text(f"select 1 from open_sums where {left} limit 1"), times).first():
        connection.execute(text(f"delete from open_sums where {left}"), times)
    silent = {"silent": now_s - keep_s if keep_s else 0.0}
    quiet = "select host, id from open_sums group by host, id having max(came) < :silent"
    for table in OF_OPEN if connection.execute(text(f"{quiet} limit 1"), silent).first() else ():
        connection.execute(text(f"delete from {table} where (host, id) in ({quiet})"), silent)
    quiet = "select host, trusted from host_said group by host, trusted having max(heard) < :silent"
    if connection.execute(text(f"{quiet} limit 1"), silent).first():
        connection.execute(text(f"delete from host_said where (host, trusted) in ({quiet})"), silent)


def delete_older(connection: Connection, before_s: float) -> int:
    """Delete entries, episodes and hosts whose own time is before this, Unix time; return how many entries."""
    old = {"before": before_s}
    count = connection.execute(text("select count() from entry where at < :before"), old).scalar() or 0
    for table, at in OWN_TIMES.items():
        connection.execute(text(f"delete from {table} where {at} < :before"), old)
    for table, view, keys in (
        ("open_said", "open_episode", "host, id"),
        ("host_said", "host", "host, trusted"),
    ):
        quiet = f"select {keys} from {view} where last < :before"
        connection.execute(text(f"delete from {table} where ({keys}) in ({quiet})"), old)
    connection.execute(text(f"delete from open_sums where {LEFT}"))
    connection.execute(text("delete from hours_made where hour < :before"), old)
    return int(count)
