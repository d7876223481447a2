# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is no journal, or damaged in one, is set aside beside it: bounded, and said in the log."""

from __future__ import annotations

import logging
import os
import re
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from sockbpf.delivery.journal_file import write_whole
from sockbpf.process import private_file

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sockbpf.delivery.journal_lines import Found

log = logging.getLogger(__name__)

ASIDE_BYTES = 16 * 2**20
"""As many bytes of damaged lines are kept; further ones are counted and not kept."""

ASIDE_FILES = 8
"""As many files that are no journals are kept; the oldest is removed for a ninth."""

NAMED = 5
"""As many damaged lines are named in one line of the log."""

NAMES = tuple(re.compile(rb'"%b":"([0-9a-z]{1,20})"' % name) for name in (b"id", b"event", b"seq"))


def move_strangers_file(path: Path) -> None:
    """Rename a file or link at `path` that is another user's: it must not keep us from a file of our own.

    Raise OSError.
    """
    with suppress(FileNotFoundError):
        status = path.lstat()
        ours = status.st_uid == os.geteuid() and (status.st_nlink == 1 or not stat.S_ISREG(status.st_mode))
        if not ours and not stat.S_ISDIR(status.st_mode):
            log.error("%s is not ours: set aside as %s", path, rename(path))


def rename(path: Path, endings: Iterable[str] = ("",)) -> Path:
    """Rename the file, and those with these endings after its name; return its new name. Raise OSError."""
    earlier = sorted(path.parent.glob(f"{path.name}.unreadable-*"))
    for oldest in earlier[: max(0, len(earlier) + 1 - ASIDE_FILES)]:
        with suppress(OSError):
            oldest.unlink()
    kept = path.with_name(f"{path.name}.unreadable-{time.time_ns()}")
    for ending in endings:
        with suppress(FileNotFoundError):
            os.rename(f"{path}{ending}", f"{kept}{ending}")
    return kept


def refuse(path: Path) -> None:
    """Set the file at `path` aside as a whole. Raise OSError."""
    log.error(
        "%s is no journal of this edition: set aside as %s, what it owed is not sent", path, rename(path)
    )


def keep_broken(path: Path, found: Found) -> None:
    """Append the damaged lines of the journal at `path` to `PATH.set-aside`, on the disk, and say so.

    Raise OSError.
    """
    aside = path.with_name(f"{path.name}.set-aside")
    move_strangers_file(aside)
    file = private_file.opened(aside, os.O_CREAT | os.O_APPEND)
    try:
        has_room = os.fstat(file).st_size + sum(map(len, found.broken)) <= ASIDE_BYTES
        if has_room:
            write_whole(file, b"".join(map(_kept, found.broken)))
            os.fsync(file)
    finally:
        os.close(file)
    log.error(
        "%s is damaged: set aside %d of its alerts, %s; %d are whole and owed; damaged are %s",
        path,
        found.lost,
        f"kept in {aside}" if has_room else f"not kept, {aside} is full",
        len(found.owed),
        "; ".join(_named(piece) for piece in found.broken[:NAMED]),
    )


def _kept(piece: bytes) -> bytes:
    return b"# %d: %d bytes\n%b\n" % (time.time(), len(piece), piece)


def _named(piece: bytes) -> str:
    """Return the numbers that a damaged line names, an alert's as a rule, and no text of it."""
    known = (each.search(piece) for each in NAMES)
    return f"{len(piece)} bytes " + "/".join(name[1].decode() for name in known if name)
