# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Group commit: one thread writes, in one transaction, everything that came during the transaction before.

Whoever hands in entries is answered after the commit, never before. So many requests at once cost one flush of the
disk, not one each.
"""

from __future__ import annotations

import logging
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import DBAPIError, OperationalError, SQLAlchemyError

from sockbpf.process import life
from sockbpf.store.data.faults import described, first_line, is_damage, is_full, is_in_the_way
from sockbpf.store.data.history_rows import forget_oldest
from sockbpf.store.data.lanes import Lane, Lanes, Work
from sockbpf.store.data.probe import probe
from sockbpf.store.data.room import is_at_its_most, make_room
from sockbpf.store.data.rows import write

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    from sqlalchemy import Connection

    from sockbpf.store.data.database import Database
    from sockbpf.store.data.entry import Entry

log = logging.getLogger(__name__)

TRIES = 5
"""How often a transaction is tried that another store's transaction made fail."""
ROUND_S = 120.0
"""A transaction that takes longer than this is reported in the log."""
PAUSE_S = 0.1
"""After a failure of the connection, before the next transaction: a database that is away is not asked more often."""


@dataclass(frozen=True)
class Broken:
    """Why nothing can be written, in words that anybody may read, and since when, Unix time."""

    why: str
    since_s: float


class BusyError(Exception):
    """It was not written; the sender may try again."""


class FullError(BusyError):
    """Too many entries wait already."""


class Writer:
    """The only thread that writes into the database; all others only read."""

    def __init__(self, database: Database, on_commit: Callable[[], None] = lambda: None) -> None:
        """Write into this database once `start` is called; the thread calls `on_commit` after each commit."""
        self._database = database
        self._on_commit = on_commit
        self._changed = threading.Condition()
        self._lanes = Lanes()
        self._closing = False
        self.commits = 0
        self.kept = 0
        self.duplicates = 0
        self.refused = 0
        self.not_kept = 0
        self.crowded_out = 0
        self.history_crowded_out = 0
        self.broken: Broken | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = life.start_thread("writer", self._run, limit_s=ROUND_S)

    @property
    def waiting(self) -> int:
        """How many entries wait to be written."""
        return self._lanes.entries

    def is_behind(self, lane: Lane) -> bool:
        """Whether so many entries wait in a lane that it takes no batch; counts that one was refused."""
        is_behind = self._lanes.is_behind(lane)
        self.refused += is_behind
        return is_behind

    def keep(self, entries: Sequence[Entry], lane: Lane) -> Future[list[bool]]:
        """Hand in entries; once they are on disk, the future gives for each whether it was new.

        BusyError means that they were not written: raised here, or by the future.
        """
        return self._hand_in(Work(entries), lane)

    def call(
        self, what: Callable[[Connection], Any], lane: Lane = Lane.CALLS, *, crowds_out: bool = True
    ) -> Future[Any]:
        """Have this called within a transaction; once that is committed, the future gives what the call returned.

        In a file that is full nothing but history makes room for it, unless it `crowds_out` entries.
        """
        return self._hand_in(Work(call=what, crowds_out=crowds_out), lane)

    def _hand_in(self, work: Work, lane: Lane) -> Future[Any]:
        with self._changed:
            if self._closing:
                self.refused += 1
                raise BusyError
            if not self._lanes.has_room(work, lane):
                self.refused += 1
                raise FullError
            self._lanes.add(work, lane)
            self._changed.notify()
        return work.done

    def close(self) -> None:
        """Write what waits, then end the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread:
            self._thread.join()

    def report(self, error: BaseException, generation: int) -> None:
        """Have the file replaced that a reader found damaged; but not if it has been replaced since `generation`."""

        def raise_it(_: Connection) -> None:
            if generation == self._database.generation:
                raise error

        with suppress(BusyError):
            self.call(raise_it)

    def _run(self, pulse: life.Pulse) -> None:
        while True:
            pulse.beat()
            with self._changed:
                self._changed.wait_for(lambda: self._lanes or self._closing, life.REST_S)
                if not self._lanes and not self._closing:
                    continue
                batch = self._lanes.take()
            if not batch:
                return
            # Work whose caller has cancelled it is left out; from here on none can be cancelled any more.
            self._try([work for work in batch if work.done.set_running_or_notify_cancel()])

    def _try(self, batch: list[Work]) -> None:
        try:
            self._commit(batch)
        except Exception as error:  # noqa: BLE001  whatever it is, whoever waits must be answered
            self._failed(batch, error)

    def _commit(self, batch: list[Work]) -> None:
        for tried in range(1, TRIES + 1):
            try:
                self._transact(batch)
                break
            except DBAPIError as error:
                # All of it was rolled back, so that another try writes nothing twice.
                if tried == TRIES or not is_in_the_way(error):
                    raise
        self.commits += 1
        self.broken = None
        for work in batch:
            if not work.call:
                self.kept += sum(work.answer)
                self.duplicates += len(work.answer) - sum(work.answer)
            work.done.set_result(work.answer)
        self._on_commit()

    def _transact(self, batch: list[Work]) -> None:
        with self._database.writing.begin() as connection:
            are_new = iter(write(connection, [entry for work in batch for entry in work.entries]))
            for work in batch:
                work.answer = [next(are_new) for _ in work.entries]
                if work.call:
                    work.answer = work.call(connection)

    def _failed(self, batch: list[Work], error: Exception) -> None:
        """Do what helps against this failure and try again; else answer all of the batch that it was not written."""
        is_statements_fault = isinstance(error, SQLAlchemyError) and not isinstance(error, OperationalError)
        if is_damage(error, certain=True) or (len(batch) == 1 and is_damage(error) and self._fails_always()):
            if self._database.replace(error, self._database.generation):
                self._try(batch)
                return
        elif is_full(error) and self._make_room(batch):
            self._try(batch)
            return
        elif len(batch) > 1 and (
            is_statements_fault or is_damage(error) or (is_full(error) and _is_mixed(batch))
        ):
            for work in batch:  # one of them causes it: the others must not fail with it
                self._try([work])
            return
        self._give_up(batch, error)

    def _give_up(self, batch: list[Work], error: Exception) -> None:
        said = first_line(error) if isinstance(error, SQLAlchemyError) else type(error).__name__
        is_crowded = is_full(error) and not any(work.crowds_out for work in batch)
        log.error("%s could not be kept: %s", "the history" if is_crowded else "entries", said)
        if isinstance(error, SQLAlchemyError) and not is_crowded:
            self.broken = self.broken or Broken(described(error), time.time())
        for work in batch:
            if not work.done.done():
                self.not_kept += len(work.entries)
                work.done.set_exception(BusyError())
        if isinstance(error, OperationalError):
            time.sleep(PAUSE_S)

    def _make_room(self, batch: Sequence[Work]) -> bool:
        """Delete the oldest of the history if the file has grown to our own limit; return whether there is room now.

        Where there is no history the oldest entries go, if all of the batch is worth as much.
        """
        rows = entries = 0
        try:
            with self._database.writing.begin() as connection:
                if is_at_its_most(connection):
                    rows = forget_oldest(connection)
                    if not rows and all(work.crowds_out for work in batch):
                        entries = make_room(connection)
        except SQLAlchemyError:
            return False
        self.history_crowded_out += rows
        self.crowded_out += entries
        return rows + entries > 0

    def _fails_always(self) -> bool:
        """Whether the file is damaged for any alert, so that the entries of this batch are not the cause."""
        try:
            with self._database.writing.begin() as connection:
                probe(connection)
        except Exception as error:  # noqa: BLE001
            return is_damage(error)
        return False


def _is_mixed(batch: Sequence[Work]) -> bool:
    return len({work.crowds_out for work in batch}) > 1
