# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The store's database: the connections that write and read, and what is done with a damaged file of SQLite.

A damaged file is set aside as it is, and a new one is begun, so that alerts are kept at once. Meanwhile `salvage.py`
copies what is intact in the old file into the new one.
"""

from __future__ import annotations

import logging
import os
import re
import threading
import time
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sqlalchemy import text
from sqlalchemy.exc import DisconnectionError, SQLAlchemyError

from sockbpf.errors import SockbpfError
from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.faults import DAMAGED, first_line, is_damage
from sockbpf.store.data.files import SIDES, keep_private
from sockbpf.store.data.migration import DamagedError, migrate
from sockbpf.store.data.partitions import make_partitions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection
    from sqlalchemy.engine import Engine

log = logging.getLogger(__name__)

READERS = 8
"""Connections that read, for searches and for streams."""
INTERRUPTED_S = 10.0
"""How long readers may take to end once they are interrupted."""
CHECKED_BYTES = 256 * 2**20
"""A file up to this size is checked as a whole at the start. In a larger one damage is found when it is read."""
MOST_ASIDE = 3
"""So many files that were set aside are kept; of more, the oldest are deleted."""
MOST_TIMES, WITHIN_S = 3, 600.0
"""Within this time a file is set aside at most so often: a disk that damages each file must not fill up with them."""
ASIDE = re.compile(r"\.(damaged|salvaging|salvaged)-[0-9T]+Z?(-[0-9]+)?$")


class DatabaseError(SockbpfError):
    """The database cannot be used; the text says why, and does not say where it is."""


class Database:
    """Two engines for one database: `writing`, which one thread uses, and `reading`."""

    def __init__(self, url: str, path: Path | None, most_bytes: int = 0) -> None:
        """Use the database at this URL, `path` being its file if it is SQLite's. No connection is opened yet."""
        self._url = url
        self._path = path
        self._most_bytes = most_bytes
        self._replaced_at_s: list[float] = []
        self._changed = threading.Condition()
        self._is_closed = False
        self._reading = 0
        self._drivers: set[Any] = set()
        self.set_aside = 0
        self.generation = 0
        """How often the file has been replaced. An error that a reader saw in an earlier file needs no report."""
        self.on_set_aside: Callable[[], None] = lambda: None
        self._open()

    def _open(self) -> None:
        self.writing: Engine = open_engine(self._url, connections=1, most_bytes=self._most_bytes)
        self.reading: Engine = open_engine(self._url, connections=READERS, read_only=True)

    @contextmanager
    def reader(self) -> Iterator[Connection]:
        """Give a connection that reads. Raise SQLAlchemyError if there is none, as while the file is replaced."""
        with self._changed:
            if self._is_closed:
                raise DisconnectionError("the file is replaced")
            self._reading += 1
        try:
            with self.reading.connect() as connection:
                driver: Any = connection.connection.driver_connection
                self._drivers.add(driver)
                try:
                    yield connection
                finally:
                    self._drivers.discard(driver)
        finally:
            with self._changed:
                self._reading -= 1
                self._changed.notify_all()

    @contextmanager
    def _nobody_reads(self) -> Iterator[None]:
        """Keep all connections to the file closed: one that stays open while it is renamed would damage both files.

        Raise DatabaseError if a reader does not end.
        """
        with self._changed:
            self._is_closed = True
            for driver in list(self._drivers):
                driver.interrupt()
            is_free = self._changed.wait_for(lambda: not self._reading, INTERRUPTED_S)
        try:
            if not is_free:
                raise DatabaseError("a reader has not ended")
            self.writing.dispose()
            self.reading.dispose()
            yield
        finally:
            with self._changed:
                self._is_closed = False

    @property
    def is_shared(self) -> bool:
        """Whether other stores may write into the same database."""
        return self._path is None

    @property
    def is_clickhouse(self) -> bool:
        return self.writing.dialect.name == "clickhousedb"

    def prepare(self, probe: Callable[[Connection], None]) -> None:
        """Bring the database to this edition and try it with `probe`; set a damaged file aside and begin a new one.

        Raise DatabaseError if it cannot be used, SchemaError if a newer store made it.
        """
        try:
            self._prepare(probe)
        except (SQLAlchemyError, DamagedError, UnicodeDecodeError) as error:
            if not (isinstance(error, DamagedError) or is_damage(error)) or not self.replace(
                error, self.generation
            ):
                raise DatabaseError(f"store > database: {first_line(error)}") from None
            try:
                self._prepare(probe)
            except SQLAlchemyError as again:
                raise DatabaseError(f"store > database: {first_line(again)}") from None

    def _prepare(self, probe: Callable[[Connection], None]) -> None:
        migrate(self.writing)
        with self.writing.begin() as connection:
            make_partitions(connection, time.time())
            probe(connection)
        if self._path and self._path.stat().st_size <= CHECKED_BYTES:
            self._check()

    def _check(self) -> None:
        """Check all of SQLite's file; raise DamagedError if it is damaged."""
        with self.reading.connect() as connection:
            found = connection.exec_driver_sql("pragma quick_check(1)").scalar()
        if found != "ok":
            raise DamagedError("its pages do not fit together")

    def replace(self, error: BaseException, generation: int) -> bool:
        """Set the file aside because of this error, and begin a new one; return whether it is worth another try.

        `generation` is that of the file in which the error occurred. Only the thread that writes may call this.
        """
        if generation != self.generation:
            return True
        now_s = time.monotonic()
        self._replaced_at_s = [at_s for at_s in self._replaced_at_s if now_s - at_s < WITHIN_S]
        if self._path is None or len(self._replaced_at_s) >= MOST_TIMES:
            return False
        self._replaced_at_s.append(now_s)
        try:
            with self._nobody_reads():
                kept = _move_aside(self._path)
                keep_private(self._path)
                self._open()
                self.generation += 1
                self.set_aside += 1
                log.error(
                    "%s (%s): set aside as %s; a new one is begun", DAMAGED, first_line(error), kept.name
                )
                migrate(self.writing)
                self._begin_numbers()
        except (OSError, SockbpfError, SQLAlchemyError) as fault:
            why = fault.strerror if isinstance(fault, OSError) else first_line(fault)
            log.error("the damaged database cannot be replaced: %s", why)  # noqa: TRY400
            return False
        self.on_set_aside()
        return True

    def _begin_numbers(self) -> None:
        """Give new entries higher numbers than any in an older file, since a stream resumes by number."""
        with self.writing.begin() as connection:
            begin_at = {"n": time.time_ns() // 1000}
            connection.execute(text("insert into sqlite_sequence (name, seq) values ('entry', :n)"), begin_at)

    def to_salvage(self) -> list[Path]:
        """Return the files that were set aside and are not salvaged to their end, also those that were begun."""
        if self._path is None:
            return []
        found = sorted(self._path.parent.glob(f"{self._path.name}.*"))
        return [file for file in found if (state := ASIDE.search(file.name)) and state[1] != "salvaged"]


def _move_aside(path: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept, number = Path(f"{path}.damaged-{stamp}"), 1
    while os.path.lexists(kept):
        number += 1
        kept = Path(f"{path}.damaged-{stamp}-{number}")
    with suppress(FileNotFoundError):
        os.unlink(f"{path}-shm")  # SQLite makes it anew
    # The database itself last: if this is interrupted, the next start finds it still damaged.
    for side in ("-journal", "-wal", ""):
        with suppress(FileNotFoundError):
            os.rename(f"{path}{side}", f"{kept}{side}")
    aside = sorted(
        (file for file in path.parent.glob(f"{path.name}.*") if ASIDE.search(file.name)),
        key=lambda file: file.name.rpartition(".")[2].partition("-")[2],
    )
    for old in aside[:-MOST_ASIDE]:
        log.warning("deleted an older file that was set aside: %s", old.name)
        for side in SIDES:
            Path(f"{old}{side}").unlink(missing_ok=True)
    return kept


def renamed(aside: Path, state: str) -> Path:
    """Rename a file that was set aside for its new state, `salvaging` or `salvaged`; return its new path."""
    name = re.sub(r"\.(damaged|salvaging)-", f".{state}-", aside.name)
    other = aside.with_name(name)
    for side in SIDES:
        with suppress(FileNotFoundError):
            os.rename(f"{aside}{side}", f"{other}{side}")
    return other
