# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Deletes entries: those that a query selects, or the oldest, to make room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, exists, select, text

from sockbpf.store.data.schema import ANYBODY, ENTRY, EPISODE, PAIR

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select

SLICE = 1000
"""So many entries are deleted in one transaction."""


def delete_entries(connection: Connection, chosen: Select[Any]) -> int:
    """Delete the entries whose number and time this query returns; return how many."""
    rows = [{"of_n": row[0], "of_at": row[1]} for row in connection.execute(chosen)]
    if rows:
        for table in (PAIR, ENTRY):  # the time tells PostgreSQL in which partition to look
            connection.execute(
                delete(table).where(table.c.at == bindparam("of_at"), table.c.n == bindparam("of_n")), rows
            )
    return len(rows)


def is_at_its_most(connection: Connection) -> bool:
    """Whether SQLite's file has grown to our own limit; if not, the disk is full."""
    pages = connection.exec_driver_sql("pragma page_count").scalar_one()
    most = connection.exec_driver_sql("pragma max_page_count").scalar_one()
    return bool(pages + 8 >= most)


def make_room(connection: Connection) -> int:
    """Delete the oldest entries with their episodes, those that anybody may have sent first; return how many."""
    for whose in (text(ANYBODY), text("1 = 1")):
        oldest = select(ENTRY.c.n, ENTRY.c.at).where(whose).order_by(ENTRY.c.n).limit(SLICE)
        ids = {
            id_
            for (id_,) in connection.execute(select(ENTRY.c.id).where(whose).order_by(ENTRY.c.n).limit(SLICE))
        }
        deleted = delete_entries(connection, oldest)
        gone = [{"of_id": id_} for id_ in ids if id_ is not None]
        if gone:
            has_more = exists().where(ENTRY.c.id == EPISODE.c.id)
            connection.execute(delete(EPISODE).where(EPISODE.c.id == bindparam("of_id"), ~has_more), gone)
        if deleted:
            return deleted
    return 0
