# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Reading and writing of the journal's file, a part at a time: it shall not stand in memory a second time.

Each function raises OSError.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

PART_BYTES = 2**17
"""About as much is read or written at once."""

READ_BYTES = 2**20


def read_whole(file: int) -> bytes:
    """Return all bytes of the file."""
    parts: list[bytes] = []
    at = 0
    while part := os.pread(file, READ_BYTES, at):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def write_whole(file: int, data: bytes, at: int | None = None) -> int:
    """Write all of `data` at the offset `at`, or at the file's own position; return its length."""
    done = 0
    while done < len(data):
        rest = data[done:]
        done += os.write(file, rest) if at is None else os.pwrite(file, rest, at + done)
    return done


def write_lines(file: int, lines: Iterable[bytes], at: int) -> int:
    """Write the lines from the offset `at` on; return the offset where they end."""
    waiting = bytearray()
    for line in lines:
        waiting += line
        if len(waiting) >= PART_BYTES:
            at += write_whole(file, bytes(waiting), at)
            waiting.clear()
    return at + write_whole(file, bytes(waiting), at)


def sync_folder(path: Path) -> None:
    """Return when what was renamed in the folder is on the disk."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
