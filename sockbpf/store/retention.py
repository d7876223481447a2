"""What is too old goes, a little at a time, so that nobody who writes waits for it."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from sockbpf.store.partitions import drop_partitions, make_partitions
from sockbpf.store.schema import ENTRY, EPISODE, PAIR
from sockbpf.store.writing import BusyError

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from sockbpf.store.writing import Writer

log = logging.getLogger(__name__)

SLICE = 1000
"""Entries deleted in one transaction."""
EVERY_S = 60.0


def delete_before(writer: Writer, before_s: float) -> int:
    """Delete what is older than this, Unix time; return how many entries. Raise BusyError."""
    deleted = int(writer.call(lambda connection: drop_partitions(connection, before_s)).result())
    while count := int(writer.call(lambda connection: _slice(connection, before_s)).result()):
        deleted += count
    return deleted


def _slice(connection: Connection, before_s: float) -> int:
    numbers = list(
        connection.execute(
            select(ENTRY.c.n).where(ENTRY.c.at < before_s).order_by(ENTRY.c.at).limit(SLICE)
        ).scalars()
    )
    if numbers:
        connection.execute(delete(PAIR).where(PAIR.c.n.in_(numbers)))
        connection.execute(delete(ENTRY).where(ENTRY.c.n.in_(numbers)))
    old = select(EPISODE.c.host, EPISODE.c.id).where(EPISODE.c.last < before_s).limit(SLICE)
    for host, id_ in connection.execute(old).all():
        connection.execute(delete(EPISODE).where(EPISODE.c.host == host, EPISODE.c.id == id_))
    return len(numbers)


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
        while not self._ended.wait(EVERY_S):
            try:
                self._writer.call(lambda connection: make_partitions(connection, time.time())).result()
                if self._keep_s and (deleted := delete_before(self._writer, time.time() - self._keep_s)):
                    log.info("deleted %d entries older than %g s", deleted, self._keep_s)
            except BusyError:
                log.warning("nothing could be deleted, the database is busy or away")
