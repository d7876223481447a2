# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Whose turn it is to change entries: one of the stores that share a database at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import func, select, update

from sockbpf.store.data.engine import is_mysql, is_postgresql
from sockbpf.store.data.mysql_schema import TURN

if TYPE_CHECKING:
    from sqlalchemy import Connection

WRITING = 7_362_532
"""Key of PostgreSQL's advisory lock for changing entries, episodes and what is counted of them."""


def take_turn(connection: Connection) -> None:
    """Wait until no other store changes entries; the turn lasts to the end of the transaction.

    Call it before anything is read that decides what is written. SQLite has one writer in any case.
    """
    if is_postgresql(connection):
        connection.execute(select(func.pg_advisory_xact_lock(WRITING)))
    elif is_mysql(connection):
        connection.execute(update(TURN).values(version=TURN.c.version + 1))
