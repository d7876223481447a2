# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Answers that are given again until somebody commits: after each alert many pages ask the same at once."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sqlalchemy import select, text

from sockbpf.store.data.engine import is_clickhouse, is_mysql, is_postgresql
from sockbpf.store.data.mysql_schema import TURN

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

    from sqlalchemy import Connection

    Answer = tuple[bytes, str]
    """A body, and where the next page is."""

FRESH_S = 1.0
"""For so long at most: what is over, or silent, changes with the time too."""
MOST = 4
MOST_BYTES = 2 * 1024 * 1024
"""Answers that a connection keeps, and the longest of them."""
KEY = "answers"
ROWS_OF_CLICKHOUSE = (
    "select sum(total_rows), sum(total_bytes) from system.tables where database = currentDatabase()"
)
"""What changes with each insert, also of another store; now and then without one."""


def answer_of(connection: Connection, question: Hashable, make: Callable[[], Answer]) -> Answer:
    """Return what `make` makes of the database, or has made on this connection if it has not changed since."""
    version, now_s = _version(connection), time.monotonic()
    kept: dict[Hashable, tuple[object, float, Answer]] = connection.info.get(KEY, {})
    kept = {
        asked: answer
        for asked, answer in kept.items()
        if answer[0] == version and now_s - answer[1] < FRESH_S
    }
    answer = kept[question][2] if question in kept else make()
    if len(answer[0]) <= MOST_BYTES:
        kept.setdefault(question, (version, now_s, answer))
    connection.info[KEY] = dict(list(kept.items())[-MOST:])
    return answer


def _version(connection: Connection) -> object:
    """Return what is the same on this connection only while nobody, also of another process, has committed."""
    if is_clickhouse(connection):
        return connection.execute(text(ROWS_OF_CLICKHOUSE)).one()
    if is_mysql(connection):
        return connection.execute(select(TURN.c.version)).scalar()
    if is_postgresql(connection):
        return connection.execute(text("select cast(txid_current_snapshot() as text)")).scalar()
    return connection.exec_driver_sql("pragma data_version").scalar()
