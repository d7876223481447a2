# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Where a journal lies, and what was written to it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from sockbpf.delivery.journal import Journal
from tests.unit.journals import EDITION1, body, owed


def written(path: Path, number: int) -> None:
    journal = Journal(path)
    journal.write([owed(n) for n in range(number)], [], number, number)
    journal.close()


def aside(path: Path) -> list[Path]:
    return sorted(path.parent.glob("*.unreadable-*"))


# the edition before


def edition1(path: Path, numbers: range, *, killed: bool = False) -> None:
    """Write a journal as the edition before did; `killed` leaves its log beside it."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.executescript(EDITION1)
        if killed:
            connection.execute("pragma wal_checkpoint(truncate)")
        rows = [(n, "http", f"{n:x}", 10.5 + n, body(n)) for n in numbers]
        connection.executemany("insert into owed values (?, ?, ?, ?, ?)", rows)
        connection.execute("update last set seq = ?, n = ?", (numbers.stop + 100, numbers.stop + 200))
        files = {side: Path(f"{path}{side}").read_bytes() for side in ("", "-wal")}
    if killed:
        for side, data in files.items():
            Path(f"{path}{side}").write_bytes(data)
