"""The journal: what is owed, on disk before it is sent, so that it outlives the monitor and the machine's power.

SQLite with a write-ahead log. `synchronous=FULL` has every commit on disk when it returns; that is why whoever
writes here commits many alerts at once.
"""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import sqlite3
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NoReturn, TextIO

from sockbpf.delivery.owed import Owed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

log = logging.getLogger(__name__)

EDITION = 1
"""Of the tables, kept in the file: another one is set aside."""

SCHEMA = """
create table owed (
    n integer primary key,
    destination text not null,
    episode text not null,
    made_s real not null,
    body text not null
) strict;
create table last (only integer primary key check (only = 0), seq integer not null, n integer not null) strict;
insert into last values (0, 0, 0);
"""

LOG_KEPT_BYTES = 4 * 2**20
"""What the write-ahead log is cut back to after a storm."""

SIDES = ("", "-wal", "-shm")
"""What the names of SQLite's files end in."""


class JournalError(Exception):
    """The journal cannot be used; the text says why."""


class Journal:
    """An open journal; for one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file, make it if it is missing, set it aside if it makes no sense.

        Raise JournalError when the disk does not let us, or another monitor has it.
        """
        self.path = path
        self._lock = _locked(path)
        try:
            self._connection = self._opened()
        except (sqlite3.Error, OSError) as error:
            self._lock.close()
            raise JournalError(f"{path}: {error}") from None

    def _opened(self) -> sqlite3.Connection:
        try:
            return _checked(_connect(self.path))
        except sqlite3.DatabaseError as error:
            if isinstance(error, sqlite3.OperationalError):  # the disk, not what is on it
                raise
            self._set_aside(error)
            return _checked(_connect(self.path))

    def _set_aside(self, error: sqlite3.Error) -> None:
        kept = self.path.with_name(f"{self.path.name}.unreadable-{time.time_ns()}")
        for side in SIDES:
            with suppress(FileNotFoundError):
                os.rename(f"{self.path}{side}", f"{kept}{side}")
        log.error("the journal makes no sense (%s): set aside as %s, what it owed is not sent", error, kept)

    @property
    def last_seq(self) -> int:
        """The `seq` of the last alert that was written."""
        return int(self._connection.execute("select seq from last").fetchone()[0])

    @property
    def last_n(self) -> int:
        """The `n` of the last that was written."""
        return int(self._connection.execute("select n from last").fetchone()[0])

    def owed(self) -> list[Owed]:
        """Return all that is owed, oldest first. Raise JournalError."""
        try:
            rows = self._connection.execute(
                "select n, destination, episode, made_s, body from owed order by n"
            )
            return [Owed(*row) for row in rows]
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: {error}") from None

    def write(self, made: Iterable[Owed], settled: Iterable[int], last_seq: int, last_n: int) -> None:
        """Add what was made and forget what was settled, all or nothing; on return it is on the disk.

        Raise JournalError.
        """
        with self._transaction() as connection:
            connection.executemany("insert into owed values (?, ?, ?, ?, ?)", map(_row, made))
            connection.executemany("delete from owed where n = ?", ((n,) for n in settled))
            connection.execute("update last set seq = ?, n = ?", (last_seq, last_n))

    def replace(self, owed: Iterable[Owed], last_seq: int, last_n: int) -> None:
        """Hold this instead of what it held, after a time in which it could not be written. Raise JournalError."""
        with self._transaction() as connection:
            connection.execute("delete from owed")
            connection.executemany("insert into owed values (?, ?, ?, ?, ?)", map(_row, owed))
            connection.execute("update last set seq = ?, n = ?", (last_seq, last_n))

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._connection.execute("begin immediate")
            try:
                yield self._connection
                self._connection.execute("commit")
            except BaseException:
                with suppress(sqlite3.Error):
                    self._connection.execute("rollback")
                raise
        except sqlite3.Error as error:
            raise JournalError(f"{self.path}: {error}") from None

    def close(self) -> None:
        with suppress(sqlite3.Error):
            self._connection.close()
        self._lock.close()


def _row(owed: Owed) -> tuple[object, ...]:
    return (owed.n, owed.destination, owed.episode, owed.made_s, owed.body)


def _locked(path: Path) -> TextIO:
    """Return an open file that keeps other monitors out until it is closed, or its process is gone."""
    try:
        path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        lock = open(f"{path}.lock", "w")  # noqa: SIM115, it is held
    except OSError as error:
        reason = os.strerror(errno.ENOTDIR) if isinstance(error, FileExistsError) else error.strerror
        raise JournalError(f"{path}: {reason}") from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        lock.close()
        raise JournalError(f"{path}: another sockbpf has it") from None
    return lock


def _connect(path: Path) -> sqlite3.Connection:
    """Open the file with its tables; raise sqlite3.Error."""
    # Of one thread at a time, not always the same. Transactions are begun and ended by `_transaction` alone.
    connection = sqlite3.connect(path, check_same_thread=False, timeout=1.0, isolation_level=None)
    try:
        os.chmod(path, 0o640)
        connection.execute("pragma journal_mode = wal")
        connection.execute("pragma synchronous = full")
        connection.execute(f"pragma journal_size_limit = {LOG_KEPT_BYTES}")
        edition = connection.execute("pragma user_version").fetchone()[0]
        if edition == 0:
            connection.executescript(f"begin immediate; {SCHEMA} pragma user_version = {EDITION}; commit;")
        elif edition != EDITION:
            _senseless(f"its edition is {edition}, not {EDITION}")
    except BaseException:
        connection.close()
        raise
    return connection


def _senseless(reason: str) -> NoReturn:
    raise sqlite3.DatabaseError(reason)


def _checked(connection: sqlite3.Connection) -> sqlite3.Connection:
    """Return it if every page of it can be read and the tables are what they should be; raise sqlite3.Error."""
    try:
        said = connection.execute("pragma quick_check(1)").fetchone()[0]
        try:
            connection.execute("select n, destination, episode, made_s, body from owed limit 1").fetchone()
            last = connection.execute("select seq, n from last").fetchone()
        except sqlite3.OperationalError as error:
            if "no such" in str(error):  # a table, a column
                _senseless(str(error))
            raise
        if said != "ok" or last is None:
            _senseless(said)
    except BaseException:
        connection.close()
        raise
    return connection
