# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Deletes entries: those that a query selects, or the oldest, to make room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, exists, select, text

from sockbpf.store.data import bulk
from sockbpf.store.data.schema import ANYBODY, ENTRY, EPISODE, HOST, PAIR
from sockbpf.store.data.timeline_rows import forget_entries, forget_episodes
from sockbpf.store.data.turn import take_turn

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection, Select

SLICE = 1000
"""So many entries are deleted in one transaction."""


def delete_entries(connection: Connection, chosen: Select[Any]) -> int:
    """Delete the entries whose number and time this query returns; return how many."""
    take_turn(connection)
    rows = [(row[1], row[0]) for row in connection.execute(chosen)]
    if rows:
        times = [at_s for at_s, _ in rows]
        which = (ENTRY.c.n.in_([n for _, n in rows]), ENTRY.c.at.between(min(times), max(times)))
        alerts = connection.execute(select(ENTRY).where(*which, ENTRY.c.key.is_not(None))).mappings().all()
        for table in (PAIR, ENTRY):  # the time tells PostgreSQL in which partition to look
            bulk.delete(connection, table, ("at", "n"), rows)
        forget_entries(connection, alerts)
    return len(rows)


def delete_episodes(connection: Connection, rows: Sequence[Mapping[Any, Any]]) -> None:
    """Delete episodes, by their rows of the table."""
    if rows:
        bulk.delete(connection, EPISODE, ("host", "id"), [(row["host"], row["id"]) for row in rows])
        forget_episodes(connection, rows)


def is_at_its_most(connection: Connection) -> bool:
    """Whether SQLite's file has grown to our own limit; if not, the disk is full."""
    pages = connection.exec_driver_sql("pragma page_count").scalar_one()
    most = connection.exec_driver_sql("pragma max_page_count").scalar_one()
    return bool(pages + 8 >= most)


def make_room(connection: Connection) -> int:
    """Delete the oldest entries with what they made, those that anybody may have sent first; return how many."""
    for whose in (text(ANYBODY), text("1 = 1")):
        oldest = select(ENTRY.c.n, ENTRY.c.at).where(whose).order_by(ENTRY.c.n).limit(SLICE)
        its = select(ENTRY.c.id, ENTRY.c.host).where(whose).order_by(ENTRY.c.n).limit(SLICE)
        named = connection.execute(its).all()
        deleted = delete_entries(connection, oldest)
        gone = [row.id for row in named if row.id is not None]
        has_more = exists().where(ENTRY.c.id == EPISODE.c.id)
        chosen = select(EPISODE).where(EPISODE.c.id.in_(gone), ~has_more)
        delete_episodes(connection, connection.execute(chosen).mappings().all())
        _delete_hosts(connection, {row.host for row in named})
        if deleted:
            return deleted
    return 0


def _delete_hosts(connection: Connection, hosts: set[str | None]) -> None:
    """Delete those of these hosts of which there is no entry any more."""
    gone = [{"of": host} for host in hosts if host is not None]
    if gone:
        has_more = exists().where(ENTRY.c.host == HOST.c.host)
        connection.execute(delete(HOST).where(HOST.c.host == bindparam("of"), ~has_more), gone)
