# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Deletes what is too old, a little at a time, so that alerts that come in hardly wait for it."""

from __future__ import annotations

import logging
import math
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select, text

from sockbpf.process import life
from sockbpf.store.data import bulk
from sockbpf.store.data.lanes import Lane
from sockbpf.store.data.partitions import drop_partitions, make_partitions
from sockbpf.store.data.room import SLICE, delete_entries, delete_episodes
from sockbpf.store.data.salvage import salvage_all
from sockbpf.store.data.schema import ARRIVED, ENTRY, EPISODE, HEARD, HEARTBEATS, HOST
from sockbpf.store.data.sound import give_digests
from sockbpf.store.data.timeline_fill import fill_some
from sockbpf.store.data.timeline_rows import prune
from sockbpf.store.data.writing import BusyError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import ColumnElement, Connection

    from sockbpf.store.data.database import Database
    from sockbpf.store.data.history_keep import HistoryKeeper
    from sockbpf.store.data.writing import Writer

log = logging.getLogger(__name__)

FIRST_S, EVERY_S = 1.0, 60.0
"""From the start to the first round of deleting, and from each round to the next."""
HEARTBEATS_S = 3600.0
"""Heartbeats go after so long: there are many, and what the latest one of a host said stays with the host."""
ROUND_S = 1800.0
"""A round that takes longer is reported in the log; copying from a damaged file may take long."""


@dataclass(frozen=True)
class Age:
    """From which time the age of entries, episodes and hosts counts: expressions with an index."""

    entry: ColumnElement[float]
    episode: ColumnElement[float]
    host: ColumnElement[float]


BY_THEIR_OWN_TIME = Age(ENTRY.c.at, EPISODE.c.last, HOST.c.last)
BY_ARRIVAL = Age(ARRIVED, HEARD, HOST.c.heard)
"""So an alert that was delivered late, or comes from a host with a wrong clock, is kept as long as any other."""


def delete_heartbeats(writer: Writer, before_s: float) -> int:
    """Delete the heartbeats that came before this, Unix time; return how many. Raise BusyError."""
    old = select(ENTRY.c.n, ENTRY.c.at).where(text(HEARTBEATS), before_s > ARRIVED).order_by(ARRIVED)
    deleted, some = 0, SLICE
    while some == SLICE:
        some = writer.call(lambda connection: delete_entries(connection, old.limit(SLICE))).result()
        deleted += some
    return deleted


def _drop(connection: Connection, before_s: float, age: Age) -> int:
    """Delete what can be deleted at once."""
    dropped = drop_partitions(connection, before_s, age.entry)
    make_partitions(connection, time.time())
    return dropped


def _slice(connection: Connection, before_s: float, age: Age) -> tuple[int, int]:
    """Delete some of the oldest; return how many entries, and how many episodes and hosts."""
    oldest = select(ENTRY.c.n, ENTRY.c.at).where(age.entry < before_s).order_by(age.entry).limit(SLICE)
    entries = delete_entries(connection, oldest)
    quiet = connection.execute(select(EPISODE).where(age.episode < before_s).limit(SLICE)).mappings().all()
    delete_episodes(connection, quiet)
    return entries, len(quiet) + _delete_hosts(connection, age.host < before_s)


def _delete_hosts(connection: Connection, is_old: ColumnElement[bool]) -> int:
    """Delete some hosts; return how many."""
    keys = connection.execute(select(HOST.c.host, HOST.c.trusted).where(is_old).limit(SLICE)).all()
    bulk.delete(connection, HOST, ("host", "trusted"), [tuple(key) for key in keys])
    return len(keys)


class Upkeep:
    """A thread that deletes what is older than `keep_s`, makes partitions in advance, and salvages damaged files."""

    def __init__(self, database: Database, writer: Writer, history: HistoryKeeper, keep_s: float) -> None:
        self._database = database
        self._history = history
        self._writer = writer
        self._keep_s = keep_s
        self._ended = threading.Event()
        self._woken = threading.Event()
        self._digested: int | None = 0
        self.deleted = 0
        self.failures = 0
        self.copied = 0
        self.left_out = 0
        database.on_set_aside = self._woken.set

    def start(self) -> None:
        life.start_thread("upkeep", self._run, limit_s=ROUND_S)

    def stop(self) -> None:
        self._ended.set()
        self._woken.set()

    def delete_before(self, before_s: float, until_s: float) -> tuple[int, bool]:
        """Delete what is of before `before_s`, Unix time; return how many entries, and whether that was all.

        It gives up at `until_s` of the monotonic clock. Raise BusyError.
        """
        self._history.forget(before_s, lambda: time.monotonic() > until_s)
        return self._delete_by(BY_THEIR_OWN_TIME, before_s, until_s)

    def _delete_by(self, age: Age, before_s: float, until_s: float) -> tuple[int, bool]:
        deleted = self._writer.call(lambda connection: _drop(connection, before_s, age)).result()
        while time.monotonic() < until_s:
            entries, others = self._writer.call(lambda connection: _slice(connection, before_s, age)).result()
            deleted += entries
            if not entries and not others:
                return deleted, True
        return deleted, False

    def _run(self, pulse: life.Pulse) -> None:
        next_s = time.monotonic() + FIRST_S
        while not self._ended.is_set():
            pulse.beat()
            self._round(self._salvage)
            self._round(self._give_digests)
            self._round(self._fill_timeline)
            if time.monotonic() >= next_s:
                next_s = time.monotonic() + EVERY_S
                self._round(self._delete)
                self._round(lambda: self._history.tend(time.time(), self._ended.is_set))
            self._woken.wait(max(0.0, min(next_s - time.monotonic(), life.REST_S)))
            if not self._ended.is_set():
                self._woken.clear()

    def _round(self, what: Callable[[], None]) -> None:
        try:
            what()
        except BusyError:
            self.failures += 1
            log.warning("nothing could be deleted or copied, the database is busy or away")
        except Exception as error:  # noqa: BLE001  whatever it is, the next round may do better
            self.failures += 1
            log.error("deleting old entries or copying from a damaged file failed: %s", life.described(error))  # noqa: TRY400

    def _salvage(self) -> None:
        for found in salvage_all(self._database, self._writer, self._ended.is_set):
            self.copied += found.copied
            self.left_out += found.altered

    def _give_digests(self) -> None:
        """Give a digest to entries of the first edition, so that from now on it shows when one is altered."""
        while self._digested is not None and not self._ended.is_set():
            after = self._digested
            self._digested = self._writer.call(lambda c: give_digests(c, after), Lane.BULK).result()  # noqa: B023

    def _fill_timeline(self) -> None:
        """Count what was there before the timeline, or what it was emptied of."""
        while not self._ended.is_set() and not self._writer.call(fill_some, Lane.BULK).result():
            pass

    def _delete(self) -> None:
        self._writer.call(lambda connection: make_partitions(connection, time.time())).result()
        self.deleted += delete_heartbeats(self._writer, time.time() - HEARTBEATS_S)
        if self._keep_s:
            deleted, _ = self._delete_by(BY_ARRIVAL, time.time() - self._keep_s, math.inf)
            self.deleted += deleted
            if deleted:
                self._writer.call(prune).result()
                log.info("deleted %d entries older than %g s", deleted, self._keep_s)
