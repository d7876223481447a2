# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Group commit: one thread writes, in one transaction, all that came while it wrote the last time.

Whoever hands something in is answered after the commit, never before. So many requests at once cost one flush of
the disk, not one each.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
import time
from collections import deque
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from enum import IntEnum
from itertools import groupby
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, insert, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import DatabaseError, DBAPIError, OperationalError, SQLAlchemyError

from sockbpf.process import life
from sockbpf.store.data.digest import APART, digest_of, is_sound
from sockbpf.store.data.entry import alert_entry
from sockbpf.store.data.faults import described, is_damage, is_full
from sockbpf.store.data.room import is_at_its_most, make_room
from sockbpf.store.data.schema import EDITIONS, ENTRY, EPISODE, PAIR, WRITING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from sockbpf.store.data.database import Database
    from sockbpf.store.data.entry import Entry

log = logging.getLogger(__name__)

MOST_WAITING = 20_000
"""Entries that may wait for a commit in each lane; who comes then is sent away."""
BATCH = 2000
"""Entries of one commit."""
TRIES = 5
"""Of a transaction that another store's stood in the way of."""
IN_THE_WAY = frozenset({"40001", "40P01"})
"""SQLSTATE of a serialization failure, of a deadlock."""


ROUND_S = 120.0
"""How long the database may take for one transaction before that is said."""
PROBE = {
    "event": "exceeded", "host": "store", "protocol": "tcp", "type": "RECV", "local_ip": "::1", "local_port": "1",
    "remote_ip": "::1", "remote_port": "1", "size": "1", "threshold": "1", "seq": "0",
}  # fmt: skip
"""Of an alert that is written and taken back."""


@dataclass(frozen=True)
class Broken:
    """Why nothing is kept, in words for anybody, and since when, Unix time."""

    why: str
    since_s: float


class BusyError(Exception):
    """It was not kept, and may be tried again."""


class Lane(IntEnum):
    """Whose turn it is first. In each lane as much may wait: nobody fills it up for the others."""

    OURS = 0
    """The monitor's alerts, or of who knows the token."""
    CALLS = 1
    """What the store itself has to do."""
    ANYBODY = 2
    """Alerts of whoever may ask."""
    BULK = 3
    """What is posted or salvaged: much at once, so in a transaction of its own."""


@dataclass(slots=True)
class _Work:
    """What somebody waits for: entries to be kept, or a call with the connection."""

    entries: Sequence[Entry] = ()
    call: Callable[[Connection], Any] | None = None
    done: Future[Any] = field(default_factory=Future)
    answer: Any = None


class Writer:
    """The only one that writes; everything else looks on."""

    def __init__(self, database: Database, on_commit: Callable[[], None] = lambda: None) -> None:
        """Write into this database from `start` on; `on_commit` is called, from the thread, after each commit."""
        self._database = database
        self._on_commit = on_commit
        self._changed = threading.Condition()
        self._waiting: dict[Lane, deque[_Work]] = {lane: deque() for lane in Lane}
        self._entries = dict.fromkeys(Lane, 0)
        self._is_bulks_turn = False
        self._closing = False
        self.commits = 0
        self.kept = 0
        self.duplicates = 0
        self.refused = 0
        self.not_kept = 0
        self.crowded_out = 0
        self.broken: Broken | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        self._thread = life.start_thread("writer", self._run, limit_s=ROUND_S)

    @property
    def waiting(self) -> int:
        """How many entries wait for their commit."""
        return sum(self._entries.values())

    def keep(self, entries: Sequence[Entry], lane: Lane) -> Future[list[bool]]:
        """Hand entries in; the future says of each whether it was new, once they are on disk.

        Raise BusyError, or have the future raise it, when they are not kept.
        """
        return self._hand_in(_Work(entries), lane)

    def call(self, what: Callable[[Connection], Any], lane: Lane = Lane.CALLS) -> Future[Any]:
        """Have something else written, in the transaction of a commit."""
        return self._hand_in(_Work(call=what), lane)

    def _hand_in(self, work: _Work, lane: Lane) -> Future[Any]:
        with self._changed:
            if self._closing or self._entries[lane] + len(work.entries) > MOST_WAITING:
                self.refused += 1
                raise BusyError
            self._waiting[lane].append(work)
            self._entries[lane] += len(work.entries)
            self._changed.notify()
        return work.done

    def close(self) -> None:
        """Write what has come, then end."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread:
            self._thread.join()

    def _run(self, pulse: life.Pulse) -> None:
        while True:
            pulse.beat()
            with self._changed:
                self._changed.wait_for(lambda: self._has_work() or self._closing, life.REST_S)
                if not self._has_work() and not self._closing:
                    continue
                batch = self._take()
            if not batch:
                return
            # From here on none can be cancelled any more; those that were, nobody waits for.
            wanted = [work for work in batch if work.done.set_running_or_notify_cancel()]
            try:
                self._commit(wanted)
            except Exception as error:  # noqa: BLE001  whatever it is, whoever waits is told
                self._failed(wanted, error)

    def _has_work(self) -> bool:
        return any(self._waiting.values())

    def _take(self) -> list[_Work]:
        """Take what the next transaction is of: alerts, and every other time, where some waits, of the bulk."""
        alerts = [lane for lane in Lane if lane is not Lane.BULK and self._waiting[lane]]
        self._is_bulks_turn = bool(self._waiting[Lane.BULK]) and (not self._is_bulks_turn or not alerts)
        batch: list[_Work] = []
        entries = 0
        for lane in (Lane.BULK,) if self._is_bulks_turn else alerts:
            waiting = self._waiting[lane]
            while waiting and (not batch or entries + len(waiting[0].entries) <= BATCH):
                entries += len(waiting[0].entries)
                self._entries[lane] -= len(waiting[0].entries)
                batch.append(waiting.popleft())
        return batch

    def _commit(self, batch: list[_Work]) -> None:
        for tried in range(1, TRIES + 1):
            try:
                self._transact(batch)
                break
            except DBAPIError as error:
                # Rolled back as a whole: so another try keeps nothing twice.
                if tried == TRIES or getattr(error.orig, "sqlstate", None) not in IN_THE_WAY:
                    raise
        self.commits += 1
        self.broken = None
        for work in batch:
            if not work.call:
                self.kept += sum(work.answer)
                self.duplicates += len(work.answer) - sum(work.answer)
            work.done.set_result(work.answer)
        self._on_commit()

    def _transact(self, batch: list[_Work]) -> None:
        with self._database.writing.begin() as connection:
            kept = iter(write(connection, [entry for work in batch for entry in work.entries]))
            for work in batch:
                work.answer = [next(kept) for _ in work.entries]
                if work.call:
                    work.answer = work.call(connection)

    def report(self, error: BaseException, generation: int) -> None:
        """Say that whoever reads has found the file damaged, while it was this one."""

        def is_it_so(_: Connection) -> None:
            if generation == self._database.generation:
                raise error

        with suppress(BusyError):
            self.call(is_it_so)

    def _failed(self, batch: list[_Work], error: Exception) -> None:
        is_ours = isinstance(error, SQLAlchemyError) and not isinstance(error, OperationalError)
        if is_damage(error, certain=True) or (len(batch) == 1 and is_damage(error) and self._is_lasting()):
            if self._database.replace(error, self._database.generation):
                self._try_again(batch)
                return
        elif is_full(error) and self._make_room():
            self._try_again(batch)
            return
        elif len(batch) > 1 and (is_ours or is_damage(error)):
            for work in batch:  # one of them is at fault: the others need not suffer
                self._try_again([work])
            return
        said = str(getattr(error, "orig", None) or type(error).__name__).split("\n")[0]
        log.error("not kept: %s", said)
        if isinstance(error, SQLAlchemyError):
            self.broken = self.broken or Broken(described(error), time.time())
        for work in batch:
            if not work.done.done():
                self.not_kept += len(work.entries)
                work.done.set_exception(BusyError())
        if isinstance(error, OperationalError):
            time.sleep(0.1)  # a database that is away need not be asked more often

    def _make_room(self) -> bool:
        """Delete the oldest, if it is our own limit that is reached; return whether there is room now."""
        try:
            with self._database.writing.begin() as connection:
                deleted = make_room(connection) if is_at_its_most(connection) else 0
        except SQLAlchemyError:
            return False
        self.crowded_out += deleted
        return deleted > 0

    def _try_again(self, batch: list[_Work]) -> None:
        try:
            self._commit(batch)
        except Exception as error:  # noqa: BLE001  whatever it is, whoever waits is told
            self._failed(batch, error)

    def _is_lasting(self) -> bool:
        """Whether what every alert needs fails in the same way: then it is not what was to be written."""
        try:
            with self._database.writing.begin() as connection:
                probe(connection)
        except Exception as error:  # noqa: BLE001
            return is_damage(error)
        return False


def probe(connection: Connection) -> None:
    """Write what an alert needs, read it again, take it back, and have something written for good."""
    told = {**PROBE, "id": f"probe-{time.time_ns()}", "timestamp": f"{time.time():.6f}"}
    entry = alert_entry(told)
    with connection.begin_nested() as tried:
        write(connection, [entry])
        kept = connection.execute(select(ENTRY).where(ENTRY.c.id == told["id"])).mappings().one()
        episode = connection.execute(select(EPISODE).where(EPISODE.c.id == told["id"])).mappings().one()
        is_kept = is_sound(kept, ENTRY) and is_sound(episode, EPISODE)
        if kept["body"] != entry.body or not is_kept:
            raise DatabaseError("probe", None, sqlite3.DatabaseError("malformed: not what was written"))
        tried.rollback()
    connection.execute(EDITIONS.update().values(edition=EDITIONS.c.edition))


def write(connection: Connection, entries: Sequence[Entry], now_s: float | None = None) -> list[bool]:
    """Write entries that come at `now_s`, Unix time, in their order; return of each whether it was new."""
    if not entries:
        return []
    if connection.dialect.name == "postgresql":
        # One store at a time: what is known stays so, and entries are seen in the order of their n.
        connection.execute(select(func.pg_advisory_xact_lock(WRITING)))
    known = _known(connection, [entry.key for entry in entries if entry.key])
    fresh = []
    for entry in entries:
        fresh.append(entry.key is None or entry.key not in known)
        if entry.key:
            known.add(entry.key)
    new = [entry for entry, is_new in zip(entries, fresh, strict=True) if is_new]
    arrived_s = time.time() if now_s is None else now_s
    for has_pairs, some in groupby(new, lambda entry: bool(entry.pairs)):
        if has_pairs:
            _insert_with_pairs(connection, list(some), arrived_s)
        else:
            connection.execute(insert(ENTRY), [row_of(entry, arrived_s) for entry in some])
    _write_episodes(connection, merged([entry.episode for entry in new if entry.episode]), arrived_s)
    return fresh


def _insert_with_pairs(connection: Connection, entries: list[Entry], arrived_s: float) -> None:
    numbered = insert(ENTRY).returning(ENTRY.c.n, sort_by_parameter_order=True)
    numbers = connection.execute(numbered, [row_of(entry, arrived_s) for entry in entries]).scalars()
    pairs = [
        {"n": number, "at": entry.at_s, "name": name, "value": value}
        for number, entry in zip(numbers, entries, strict=True)
        for name, value in entry.pairs
    ]
    connection.execute(insert(PAIR), pairs)


def _known(connection: Connection, keys: list[bytes]) -> set[bytes]:
    found: set[bytes] = set()
    for at in range(0, len(keys), 500):
        some = keys[at : at + 500]
        found |= set(connection.execute(select(ENTRY.c.key).where(ENTRY.c.key.in_(some))).scalars())
    return found


def row_of(entry: Entry, arrived_s: float) -> dict[str, Any]:
    """Return the row of an entry that comes now; its number only if it had one before."""
    row = {**entry.columns, "at": entry.at_s, "key": entry.key, "body": entry.body}
    row |= {
        "arrived": arrived_s if entry.arrived_s is None else entry.arrived_s,
        "trusted": int(entry.trusted),
        "digest": digest_of(row, ENTRY.c.keys()),
    }
    return row if entry.n is None else {**row, "n": entry.n}


def merged(words: Iterable[Any]) -> list[dict[str, Any]]:
    """Return one row for each episode: what a batch says of it."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for word in words:
        key = (word["host"], word["id"])
        row = rows.get(key)
        rows[key] = dict(word) if row is None else _joined(row, word)
    return [rows[key] for key in sorted(rows)]  # in one order, so that two stores never wait for each other


def _joined(row: dict[str, Any], word: dict[str, Any]) -> dict[str, Any]:
    later, earlier = (word, row) if word["last"] >= row["last"] else (row, word)
    joined = {name: value if value is not None else earlier[name] for name, value in later.items()}
    joined["start"] = min(row["start"], word["start"])
    joined["peak"] = max(row["peak"], word["peak"])
    joined["alerts"] = row["alerts"] + word["alerts"]
    return joined


def _episodes_of(connection: Connection, host: str, ids: list[str]) -> Iterator[Mapping[Any, Any]]:
    for at in range(0, len(ids), 500):
        asked = select(EPISODE).where(EPISODE.c.host == host, EPISODE.c.id.in_(ids[at : at + 500]))
        yield from connection.execute(asked).mappings()


def _write_episodes(connection: Connection, words: list[dict[str, Any]], arrived_s: float) -> None:
    """Join what comes with what is there; this thread, or who has the lock, is the only one that does."""
    names = EPISODE.c.keys()
    there: dict[tuple[str, str], dict[str, Any]] = {}
    for host, some in groupby(words, lambda word: word["host"]):  # they are sorted by it
        for row in _episodes_of(connection, host, [word["id"] for word in some]):
            if is_sound(row, EPISODE):
                there[host, row["id"]] = {name: row[name] for name in names if name not in APART}
    rows = [
        _joined(there[key], word) if (key := (word["host"], word["id"])) in there else word for word in words
    ]
    if not rows:
        return
    dialect: Any = postgresql if connection.dialect.name == "postgresql" else sqlite
    statement = dialect.insert(EPISODE)
    replaced = {name: statement.excluded[name] for name in names if name not in {"host", "id"}}
    connection.execute(
        statement.on_conflict_do_update(index_elements=[EPISODE.c.host, EPISODE.c.id], set_=replaced),
        [{**row, "arrived": arrived_s, "digest": digest_of(row, names)} for row in rows],
    )
