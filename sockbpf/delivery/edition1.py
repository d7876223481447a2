# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The journal of the first edition, an SQLite database: read once, to be written as a journal of the present form."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from sockbpf.process import private_file
from sockbpf.process.private_file import NotOursError

if TYPE_CHECKING:
    from pathlib import Path

MAGIC = b"SQLite format 3\0"
SIDES = ("", "-wal", "-shm")
"""The ends of the names of SQLite's files."""


def beside(path: Path) -> Path | None:
    """Return the database that stands where the journal at `path` is to be, or beside it; None without one.

    Raise OSError.
    """
    old = path if os.path.lexists(path) else path.with_name(f"{path.name}.sqlite")
    try:
        file = private_file.opened(old)
    except FileNotFoundError:
        return None
    except NotOursError:
        if old == path:
            raise
        return None
    try:
        return old if os.pread(file, len(MAGIC), 0) == MAGIC else None
    finally:
        os.close(file)


def make_private(database: Path) -> None:
    """Take others' rights away from the files beside the database. Raise OSError."""
    for side in SIDES[1:]:
        with suppress(FileNotFoundError):
            os.close(private_file.opened(database.with_name(f"{database.name}{side}")))


def remove(database: Path, but: Path) -> None:
    """Remove the database's files, but not the one of this name. Raise OSError."""
    for side in SIDES:
        gone = database.with_name(f"{database.name}{side}")
        if gone != but:
            gone.unlink(missing_ok=True)
