# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Copies the intact entries of a damaged file, which was set aside, into the new file while alerts come in.

The old file is read in the order of its numbers; what cannot be read is skipped. A row is copied only if it is as it
was written: by its digest, or if it is of the first edition, by comparing its columns with its body.
"""

from __future__ import annotations

import logging
import sqlite3
import time
from contextlib import closing, suppress
from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, Any

from sqlalchemy import LargeBinary, Text, select

from sockbpf.store.data.database import renamed
from sockbpf.store.data.digest import APART
from sockbpf.store.data.entry import Entry
from sockbpf.store.data.lanes import Lane
from sockbpf.store.data.pages import rows_on_pages
from sockbpf.store.data.rows import write
from sockbpf.store.data.schema import ENTRY
from sockbpf.store.data.sound import entry_of_body, is_sound_entry
from sockbpf.store.data.writing import BusyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from sqlalchemy import Connection

    from sockbpf.store.data.database import Database
    from sockbpf.store.data.writing import Writer

log = logging.getLogger(__name__)

LEAST_COLUMNS = 17
"""Columns of an entry in the first edition; each later edition has more."""
AT_ONCE = 200
"""Rows of one query, and of one transaction."""
LONGEST_S = 600.0
"""How long one file is salvaged at most."""
QUERY_S = 5.0
"""How long one query may take: the pages of a damaged file may lead in circles."""
STEPS = 10_000
"""SQLite's virtual machine runs so many steps between two checks of the time limit."""
SAFE = ("query_only = on", "wal_autocheckpoint = 0", "cell_size_check = on", "trusted_schema = off")
"""Settings of SQLite for a file that may be damaged in any way."""
PAUSE_S = 0.5
"""How long to wait when the new database is busy."""


@dataclass
class Salvaged:
    """What became of one file."""

    copied: int = 0
    altered: int = 0
    unread: int = 0
    """Places that could not be read, each of unknown size."""
    is_all: bool = True


def salvage_all(database: Database, writer: Writer, ended: Callable[[], bool]) -> Iterator[Salvaged]:
    """Copy the intact entries of all files that were set aside; yield what became of each file."""
    for aside in database.to_salvage():
        # A file whose salvage was interrupted is tried once more: it may be what made the store end.
        state = "salvaged" if ".salvaging-" in aside.name else "salvaging"
        path = renamed(aside, state)
        found = _salvage(path, writer, ended)
        if not ended():
            path = renamed(path, "salvaged")
        log.warning(
            "copied %d entries from %s; %d entries were altered and left out, %d places could not be read%s",
            found.copied, path.name, found.altered, found.unread, "" if found.is_all else "; given up before the end",
        )  # fmt: skip
        yield found


def _salvage(path: Path, writer: Writer, ended: Callable[[], bool]) -> Salvaged:
    found = Salvaged()
    until_s = time.monotonic() + LONGEST_S
    for rows in chain(_rows(path, found, until_s), _scattered(path, found, until_s)):
        sound = [entry for row in rows if (entry := sound_entry(row)) is not None]
        found.altered += len(rows) - len(sound)
        while sound and not ended():
            with suppress(BusyError):
                found.copied += writer.call(lambda connection: copy(connection, sound), Lane.BULK).result()  # noqa: B023
                break
            time.sleep(PAUSE_S)
        if ended() or time.monotonic() > until_s:
            found.is_all = False
            break
    return found


def copy(connection: Connection, entries: list[Entry]) -> int:
    """Write the entries that are not there yet, under their old numbers; return how many."""
    numbers = [entry.n for entry in entries]
    there = set(connection.execute(select(ENTRY.c.n).where(ENTRY.c.n.in_(numbers))).scalars())
    new = list({entry.n: entry for entry in entries if entry.n not in there}.values())
    return sum(write(connection, new))


def _rows(path: Path, found: Salvaged, until_s: float) -> Iterator[list[dict[str, Any]]]:
    # Without the write-ahead log the second time: it may be what is damaged.
    for options in ("mode=rw", "mode=ro&immutable=1"):
        try:
            with closing(
                sqlite3.connect(f"{path.as_uri()}?{options}", uri=True, isolation_level=None)
            ) as old:
                old.text_factory = bytes
                for safe in SAFE:
                    old.execute(f"pragma {safe}")
                names = [row[1].decode() for row in old.execute("pragma table_info(entry)")]
                if not {"n", "at", "body", "key"} <= set(names):
                    raise sqlite3.DatabaseError
                yield from _Walk(old, names, until_s).rows(found)
                return
        except (sqlite3.Error, UnicodeDecodeError):
            found.unread += 1


def _scattered(path: Path, found: Salvaged, until_s: float) -> Iterator[list[dict[str, Any]]]:
    """Yield the rows that are found page by page, if not all could be read by their numbers."""
    names = ENTRY.c.keys()
    some: list[dict[str, Any]] = []
    with suppress(OSError):
        for n, values in rows_on_pages(path, (LEAST_COLUMNS, len(names))) if found.unread else ():
            row: dict[str, Any] = dict.fromkeys(names) | dict(zip(names, values, strict=False)) | {"n": n}
            for name in ("at", "arrived"):  # SQLite stores a float without a fraction as an integer
                row[name] = float(row[name]) if isinstance(row[name], int) else row[name]
            if sound_entry(row) is not None:  # most rows on the pages belong to other tables
                some.append(row)
            if len(some) >= AT_ONCE:
                yield some
                some = []
            if time.monotonic() > until_s:
                break
    yield some


class _Walk:
    """Reads the table in the order of its numbers; where that fails, goes on at the next number that can be read."""

    def __init__(self, old: sqlite3.Connection, names: list[str], until_s: float) -> None:
        self._old = old
        self._until_s = until_s
        known = [name for name in names if name in ENTRY.c]
        columns = ", ".join(f'"{name}"' for name in known)
        self._known = known
        self._query = f"select {columns} from entry not indexed where n > ? order by n limit ?"  # noqa: S608

    def rows(self, found: Salvaged) -> Iterator[list[dict[str, Any]]]:
        after = 0
        while time.monotonic() < self._until_s:
            rows, failed = self._rows_after(after, AT_ONCE)
            if rows:
                yield rows
                after = rows[-1]["n"]
            elif not failed:
                return
            if failed and not rows:
                found.unread += 1
                following = self._next_readable(after)
                if following is None:
                    return
                after = following
        found.is_all = False

    def _next_readable(self, after: int) -> int | None:
        """Return the lowest number after which the table can be read again, None if there is none."""
        step = 1
        while self._rows_after(after + step, 1)[1]:
            step *= 2
            if step > 2**53 or time.monotonic() > self._until_s:
                return None
        low, high = after + step // 2, after + step  # reading after low fails, reading after high does not
        while high - low > 1 and time.monotonic() < self._until_s:
            middle = (low + high) // 2
            if self._rows_after(middle, 1)[1]:
                low = middle
            else:
                high = middle
        return high

    def _rows_after(self, after: int, limit: int) -> tuple[list[dict[str, Any]], bool]:
        """Return the next rows after this number, and whether reading them failed."""
        end_s = min(self._until_s, time.monotonic() + QUERY_S)
        self._old.set_progress_handler(lambda: time.monotonic() > end_s, STEPS)
        rows: list[dict[str, Any]] = []
        try:
            for row in self._old.execute(self._query, (after, limit)):
                if not isinstance(row[0], int) or row[0] <= after:
                    return rows, True
                rows.append(dict(zip(self._known, row, strict=True)))
        except (sqlite3.Error, OverflowError):
            return rows, True
        return rows, False


def sound_entry(row: dict[str, Any]) -> Entry | None:
    """Return the entry in a row of an old file, None if the row is not as it was written."""
    try:
        values = {name: _value(name, value) for name, value in row.items()}
        return _entry(values)
    except (ValueError, TypeError, KeyError, RecursionError):
        return None


def _entry(row: dict[str, Any]) -> Entry | None:
    columns = {name: row.get(name) for name in ENTRY.c.keys() if name not in {*APART, "at", "key", "body"}}  # noqa: SIM118
    if not is_sound_entry(row):
        return None
    entry = entry_of_body(row) or Entry(row["at"], row["body"], columns)
    arrived, trusted = row.get("arrived"), row.get("trusted")
    return replace(
        entry,
        body=row["body"],
        columns=columns,
        key=row["key"],
        n=row["n"],
        trusted=bool(row["key"] if trusted is None else trusted),
        arrived_s=arrived if isinstance(arrived, float) else row["at"],
    )


def _value(name: str, value: Any) -> Any:
    """Return a value as the table has it; raise ValueError if it is of another type than its column."""
    kind = ENTRY.c[name].type
    if isinstance(kind, Text) and value is not None:
        if not isinstance(value, bytes):
            raise ValueError(name)
        return value.decode()
    if isinstance(kind, LargeBinary) and value is not None and not isinstance(value, bytes):
        raise ValueError(name)
    return value
