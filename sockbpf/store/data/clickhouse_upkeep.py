# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What ClickHouse is asked besides reading and writing alerts: whether it works, and to delete what is old."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

from sqlalchemy import text
from sqlalchemy.exc import DatabaseError

from sockbpf.record.alert import HEARTBEAT

if TYPE_CHECKING:
    from sqlalchemy import Connection

ARRIVALS = {"entry_rows": "arrived", "pair_rows": "arrived", "start_rows": "arrived", "host_states": "heard"}
"""Tables whose rows go by their age, and when they arrived."""
MADE = "select create_table_query from system.tables where database = currentDatabase() and name = :name"
CLOSED_S = 600.0
LATE_S = 300.0
CLOSED = """
    select host, id from open_episode where (`end` is not null and arrived < :closed) or arrived < :silent
    union all
    select host, id from episode where `end` is not null and (host, id) in (
        select host, id from open_episode where `end` is null and arrived - last > :late and (host, id) in (
            select host, id from open_sums group by host, id having min(first) > :recent))
"""
"""Episodes that are not open, and had their chance to be found so."""
OLD_ENTRIES = ("entry_rows", "pair_rows", "start_rows")


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


def forget_closed(connection: Connection, now_s: float, keep_s: float) -> None:
    """Have the tables of open episodes hold those alone that are open, or ended less than CLOSED_S before `now_s`.

    One that is forgotten would be open again if an earlier alert of it came after all: what comes so late is compared
    with all alerts. With `keep_s`, seconds, what was not heard of for so long goes too.
    """
    times = {
        "closed": now_s - CLOSED_S,
        "late": CLOSED_S / 2,
        "recent": now_s - LATE_S,
        "silent": now_s - keep_s if keep_s else 0.0,
    }
    if connection.execute(text(f"select 1 from ({CLOSED}) limit 1"), times).first():
        connection.execute(text(f"delete from open_said where (host, id) in ({CLOSED})"), times)
        rest = "delete from open_sums where came < :closed and (host, id) not in (select host, id from open_said)"
        connection.execute(text(rest), times)


def delete_older(connection: Connection, before_s: float) -> int:
    """Delete entries, episodes and hosts whose own time is before this, Unix time; return how many entries."""
    old = {"before": before_s}
    count = connection.execute(text("select count() from entry where at < :before"), old).scalar() or 0
    for table in OLD_ENTRIES:
        connection.execute(text(f"delete from {table} where at < :before"), old)
    for view, keys, tables in (
        ("open_episode", "host, id", ("open_said", "open_sums")),
        ("host", "host, trusted", ("host_states",)),
    ):
        for table in tables:
            quiet = f"select {keys} from {view} where last < :before"
            connection.execute(text(f"delete from {table} where ({keys}) in ({quiet})"), old)
    return int(count)
