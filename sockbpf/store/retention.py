"""What is too old goes, a little at a time, so that nobody who writes waits for it."""

from __future__ import annotations

import logging
import math
import threading
import time
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


def delete_before(writer: Writer, before_s: float, until_s: float = math.inf) -> tuple[int, bool]:
    """Delete what is older than this, Unix time; return how many entries, and whether that was all.

    It ends at `until_s` of the monotonic clock at the latest. Raise BusyError.
    """
    deleted = writer.call(lambda connection: _drop(connection, before_s)).result()
    while time.monotonic() < until_s:
        entries, episodes = writer.call(lambda connection: _slice(connection, before_s)).result()
        deleted += entries
        if not entries and not episodes:
            return deleted, True
    return deleted, False


def _drop(connection: Connection, before_s: float) -> int:
    dropped = drop_partitions(connection, before_s)
    make_partitions(connection, time.time())
    return dropped


def _slice(connection: Connection, before_s: float) -> tuple[int, int]:
    """Delete the oldest; return how many entries and how many episodes."""
    oldest = select(ENTRY.c.n, ENTRY.c.at).where(ENTRY.c.at < before_s).order_by(ENTRY.c.at).limit(SLICE)
    rows = connection.execute(oldest).all()
    if rows:
        numbers = [row.n for row in rows]
        # By time as well: that is what it has an index for.
        connection.execute(delete(PAIR).where(PAIR.c.at <= rows[-1].at, PAIR.c.n.in_(numbers)))
        connection.execute(delete(ENTRY).where(ENTRY.c.at <= rows[-1].at, ENTRY.c.n.in_(numbers)))
    quiet = select(EPISODE.c.host, EPISODE.c.id).where(EPISODE.c.last < before_s).limit(SLICE)
    episodes = [{"of_host": host, "of_id": id_} for host, id_ in connection.execute(quiet).all()]
    if episodes:
        connection.execute(
            delete(EPISODE).where(EPISODE.c.host == bindparam("of_host"), EPISODE.c.id == bindparam("of_id")),
            episodes,
        )
    return len(rows), len(episodes)


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
                if self._keep_s:
                    deleted, _ = delete_before(self._writer, time.time() - self._keep_s)
                    if deleted:
                        log.info("deleted %d entries older than %g s", deleted, self._keep_s)
            except BusyError:
                log.warning("nothing could be deleted, the database is busy or away")
