"""What is too old goes, a little at a time, so that nobody who writes waits for it."""

from __future__ import annotations

import logging
import threading
import time
from functools import partial
from typing import TYPE_CHECKING

from sqlalchemy import bindparam, delete, select

from sockbpf.store.partitions import drop_partitions, make_partitions
from sockbpf.store.schema import ENTRY, EPISODE, PAIR
from sockbpf.store.writing import BusyError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sockbpf.store.writing import Writer

log = logging.getLogger(__name__)

SLICE = 1000
"""Entries deleted in one transaction."""
FIRST_S, EVERY_S = 1.0, 60.0
"""From the start to the first look, and from each to the next."""


def delete_before(writer: Writer, before_s: float) -> int:
    """Delete what is older than this, Unix time; return how many entries. Raise BusyError."""
    deleted = int(writer.call(lambda connection: drop_partitions(connection, before_s)).result())
    for old in (_old_entries, _old_episodes):
        while count := int(writer.call(partial(old, before_s)).result()):
            deleted += count if old is _old_entries else 0
    return deleted


def _old_entries(before_s: float, connection: Connection) -> int:
    old = select(ENTRY.c.n, ENTRY.c.at).where(ENTRY.c.at < before_s).order_by(ENTRY.c.at).limit(SLICE)
    rows = connection.execute(old).all()
    if rows:
        numbers, last_s = [row.n for row in rows], rows[-1].at
        for table in (PAIR, ENTRY):  # by time too: of pairs there is no index by n
            connection.execute(delete(table).where(table.c.at <= last_s, table.c.n.in_(numbers)))
    return len(rows)


def _old_episodes(before_s: float, connection: Connection) -> int:
    old = select(EPISODE.c.host, EPISODE.c.id).where(EPISODE.c.last < before_s).limit(SLICE)
    rows = connection.execute(old).all()
    if rows:
        one = delete(EPISODE).where(EPISODE.c.host == bindparam("of"), EPISODE.c.id == bindparam("old"))
        connection.execute(one, [{"of": row.host, "old": row.id} for row in rows])
    return len(rows)


class Retention:
    """A thread that deletes what is older than `keep_s`, and makes the partitions of the days to come."""

    def __init__(self, writer: Writer, keep_s: float) -> None:
        self._writer = writer
        self._keep_s = keep_s
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="retention", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended.set()

    def _run(self) -> None:
        wait_s = FIRST_S
        while not self._ended.wait(wait_s):
            wait_s = EVERY_S
            try:
                self._writer.call(lambda connection: make_partitions(connection, time.time())).result()
                if self._keep_s and (deleted := delete_before(self._writer, time.time() - self._keep_s)):
                    log.info("deleted %d entries older than %g s", deleted, self._keep_s)
            except BusyError:
                log.warning("nothing could be deleted, the database is busy or away")
