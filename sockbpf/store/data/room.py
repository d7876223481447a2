# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Deletes entries: those that a query selects, or the oldest, to make room."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import bindparam, delete, exists, select, text

from sockbpf.store.data.schema import ANYBODY, ENTRY, EPISODE, HOST, PAIR

if TYPE_CHECKING:
    from sqlalchemy import Connection, Select, Table

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
    """Delete the oldest entries with what they made, those that anybody may have sent first; return how many."""
    for whose in (text(ANYBODY), text("1 = 1")):
        oldest = select(ENTRY.c.n, ENTRY.c.at).where(whose).order_by(ENTRY.c.n).limit(SLICE)
        its = select(ENTRY.c.id, ENTRY.c.host).where(whose).order_by(ENTRY.c.n).limit(SLICE)
        named = connection.execute(its).all()
        deleted = delete_entries(connection, oldest)
        _delete_gone(connection, EPISODE, "id", {row.id for row in named})
        _delete_gone(connection, HOST, "host", {row.host for row in named})
        if deleted:
            return deleted
    return 0


def _delete_gone(connection: Connection, table: Table, name: str, values: set[str | None]) -> None:
    """Delete the rows that have one of these values in a column, and of which there is no entry any more."""
    gone = [{"of": value} for value in values if value is not None]
    if gone:
        has_more = exists().where(ENTRY.c[name] == table.c[name])
        connection.execute(delete(table).where(table.c[name] == bindparam("of"), ~has_more), gone)
