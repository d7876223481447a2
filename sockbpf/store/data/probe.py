# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A trial of the database: whether an alert can be written, and is read again as it was written."""

from __future__ import annotations

import sqlite3
import time
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.exc import DatabaseError

from sockbpf.store.data.clickhouse_upkeep import try_out
from sockbpf.store.data.digest import is_sound
from sockbpf.store.data.engine import is_clickhouse
from sockbpf.store.data.entry import alert_entry
from sockbpf.store.data.rows import write
from sockbpf.store.data.schema import EDITIONS, ENTRY, EPISODE

if TYPE_CHECKING:
    from sqlalchemy import Connection

PARAMETERS = {
    "event": "exceeded", "host": "store", "protocol": "tcp", "type": "RECV", "local_ip": "::1", "local_port": "1",
    "remote_ip": "::1", "remote_port": "1", "size": "1", "threshold": "1", "seq": "0",
}  # fmt: skip
"""Of an alert that is rolled back once it has been read again."""


def probe(connection: Connection) -> None:
    """Write an alert, read it, roll it back; then write something that stays, so that the commit reaches the disk.

    Raise DatabaseError where any of this fails, or where what is read is not what was written.
    """
    if is_clickhouse(connection):
        try_out(connection)
        return
    id_ = f"probe-{time.time_ns()}"
    entry = alert_entry({**PARAMETERS, "id": id_, "timestamp": f"{time.time():.6f}"})
    with connection.begin_nested() as tried:
        write(connection, [entry])
        kept = connection.execute(select(ENTRY).where(ENTRY.c.id == id_)).mappings().one()
        episode = connection.execute(select(EPISODE).where(EPISODE.c.id == id_)).mappings().one()
        if kept["body"] != entry.body or not is_sound(kept, ENTRY) or not is_sound(episode, EPISODE):
            raise DatabaseError("probe", None, sqlite3.DatabaseError("malformed: not what was written"))
        tried.rollback()
    connection.execute(EDITIONS.update().values(edition=EDITIONS.c.edition))
