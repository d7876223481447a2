# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The database as the store has it: who writes, who reads, and what becomes of SQLite's file when it makes no sense.

Such a file is set aside, whole, and a new one begun: alerts go on at once. What is sound in the old one is copied
over by `salvage.py` meanwhile.
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
from sockbpf.store.data.faults import DAMAGED, is_damage
from sockbpf.store.data.files import SIDES, keep_private
from sockbpf.store.data.migration import DamagedError, migrate
from sockbpf.store.data.partitions import make_partitions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sqlalchemy import Connection
    from sqlalchemy.engine import Engine

log = logging.getLogger(__name__)

READERS = 8
"""Connections: for searches, and for those who listen."""
INTERRUPTED_S = 10.0
"""How long those who read may take to hear that they are to end."""
CHECKED_BYTES = 256 * 2**20
"""A file up to this size is looked through at the start; of a larger one damage is found where it is come to."""
MOST_ASIDE = 3
"""Files that were set aside and are kept; of more the oldest go."""
MOST_TIMES, WITHIN_S = 3, 600.0
"""So often a file is set aside within this time: a disk that spoils each one is not to be filled with them."""
ASIDE = re.compile(r"\.(damaged|salvaging|salvaged)-[0-9T]+Z?(-[0-9]+)?$")


class DatabaseError(SockbpfError):
    """The database cannot be had; the text says why, without its place."""


class Database:
    """Two engines of one database; `writing` is for one thread."""

    def __init__(self, url: str, path: Path | None, most_bytes: int = 0) -> None:
        """Take the database at this URL, whose file is `path` where it is SQLite's; nothing is connected yet."""
        self._url = url
        self._path = path
        self._most_bytes = most_bytes
        self._times: list[float] = []
        self._changed = threading.Condition()
        self._is_closed = False
        self._reading = 0
        self._drivers: set[Any] = set()
        self.set_aside = 0
        self.generation = 0
        """How often the file has been replaced: who saw an error of an earlier one need not tell it."""
        self.on_set_aside: Callable[[], None] = lambda: None
        self._open()

    def _open(self) -> None:
        self.writing: Engine = open_engine(self._url, connections=1, most_bytes=self._most_bytes)
        self.reading: Engine = open_engine(self._url, connections=READERS, read_only=True)

    @contextmanager
    def reader(self) -> Iterator[Connection]:
        """Give a connection that reads; raise SQLAlchemyError where there is none, as while the file is replaced."""
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
        """Have no connection to the file: one that is open while it is renamed would spoil the old and the new.

        Raise DatabaseError where somebody does not end.
        """
        with self._changed:
            self._is_closed = True
            for driver in list(self._drivers):
                driver.interrupt()
            is_free = self._changed.wait_for(lambda: not self._reading, INTERRUPTED_S)
        try:
            if not is_free:
                raise DatabaseError("somebody reads it still")
            self.writing.dispose()
            self.reading.dispose()
            yield
        finally:
            with self._changed:
                self._is_closed = False

    @property
    def is_shared(self) -> bool:
        """Whether other stores may write there too."""
        return self._path is None

    def prepare(self, probe: Callable[[Connection], None]) -> None:
        """Make it one of this edition that takes what `probe` writes; set aside what makes no sense.

        Raise DatabaseError, or SchemaError where it is a newer store's.
        """
        try:
            self._prepare(probe)
        except (SQLAlchemyError, DamagedError, UnicodeDecodeError) as error:
            if not (isinstance(error, DamagedError) or is_damage(error)) or not self.replace(
                error, self.generation
            ):
                raise DatabaseError(f"store > database: {_said(error)}") from None
            try:
                self._prepare(probe)
            except SQLAlchemyError as again:
                raise DatabaseError(f"store > database: {_said(again)}") from None

    def _prepare(self, probe: Callable[[Connection], None]) -> None:
        migrate(self.writing)
        with self.writing.begin() as connection:
            make_partitions(connection, time.time())
            probe(connection)
        if self._path and self._path.stat().st_size <= CHECKED_BYTES:
            self._check()

    def _check(self) -> None:
        """Look through SQLite's file. Raise DamagedError where it makes no sense."""
        with self.reading.connect() as connection:
            said = connection.exec_driver_sql("pragma quick_check(1)").scalar()
        if said != "ok":
            raise DamagedError("its pages do not fit together")

    def replace(self, error: BaseException, generation: int) -> bool:
        """Set the file aside and begin a new one, because of this; return whether what failed may be tried again.

        For the thread that writes.
        """
        if generation != self.generation:
            return True
        now_s = time.monotonic()
        self._times = [at_s for at_s in self._times if now_s - at_s < WITHIN_S]
        if self._path is None or len(self._times) >= MOST_TIMES:
            return False
        self._times.append(now_s)
        try:
            with self._nobody_reads():
                kept = _move_aside(self._path)
                keep_private(self._path)
                self._open()
                self.generation += 1
                self.set_aside += 1
                log.error("%s (%s): set aside as %s; a new one is begun", DAMAGED, _said(error), kept.name)
                migrate(self.writing)
                self._begin_numbers()
        except (OSError, SockbpfError, SQLAlchemyError) as fault:
            why = fault.strerror if isinstance(fault, OSError) else _said(fault)
            log.error("the damaged database cannot be replaced: %s", why)  # noqa: TRY400
            return False
        self.on_set_aside()
        return True

    def _begin_numbers(self) -> None:
        """Begin to number where no entry of an older file has got: listeners go by it."""
        with self.writing.begin() as connection:
            begin_at = {"n": time.time_ns() // 1000}
            connection.execute(text("insert into sqlite_sequence (name, seq) values ('entry', :n)"), begin_at)

    def waiting_aside(self) -> list[Path]:
        """Return what was set aside and not looked through yet; what was, but not to its end, comes a second time."""
        if self._path is None:
            return []
        found = sorted(self._path.parent.glob(f"{self._path.name}.*"))
        return [file for file in found if (state := ASIDE.search(file.name)) and state[1] != "salvaged"]


def _said(error: BaseException) -> str:
    said = str(getattr(error, "orig", None) or error).split("\n")[0]
    return said or type(error).__name__


def _move_aside(path: Path) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    kept, number = Path(f"{path}.damaged-{stamp}"), 1
    while os.path.lexists(kept):
        number += 1
        kept = Path(f"{path}.damaged-{stamp}-{number}")
    with suppress(FileNotFoundError):
        os.unlink(f"{path}-shm")  # it is made again from the others
    for side in (
        "-journal",
        "-wal",
        "",
    ):  # the database last: until then the next start finds it damaged still
        with suppress(FileNotFoundError):
            os.rename(f"{path}{side}", f"{kept}{side}")
    aside = sorted(
        (file for file in path.parent.glob(f"{path.name}.*") if ASIDE.search(file.name)),
        key=lambda file: file.name.rpartition(".")[2].partition("-")[2],
    )
    for old in aside[:-MOST_ASIDE]:
        log.warning("deleted what was set aside before: %s", old.name)
        for side in SIDES:
            Path(f"{old}{side}").unlink(missing_ok=True)
    return kept


def renamed(aside: Path, state: str) -> Path:
    """Return a file that was set aside under the name of another state of it: salvaging, salvaged."""
    name = re.sub(r"\.(damaged|salvaging)-", f".{state}-", aside.name)
    other = aside.with_name(name)
    for side in SIDES:
        with suppress(FileNotFoundError):
            os.rename(f"{aside}{side}", f"{other}{side}")
    return other
