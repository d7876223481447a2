# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A new journal that is written beside the one in use and takes its place when it is whole and on the disk.

`Compaction` writes it in steps, between one commit and the next: a journal of 25 MB takes a second of CPU time, and
no alert waits for that.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from typing import TYPE_CHECKING

from sockbpf.delivery.journal_file import PART_BYTES, sync_folder, write_lines
from sockbpf.delivery.journal_lines import first_line, gone_lines, last_line, owed_lines
from sockbpf.process import private_file

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

SYNC_BYTES = 2**20
"""So much is written before it is synced: a commit that comes meanwhile waits for no more than this."""

MOST_WITHOUT_END_BYTES = 2**20
"""No line is so long: in so much of a file without the end of a line, all ends of lines are damaged."""


class NewJournal:
    """The file `PATH.new`, open for writing; begun with the first line of a journal."""

    def __init__(self, path: Path) -> None:
        """Raise OSError."""
        self._path = path
        self._name = path.with_name(f"{path.name}.new")
        with suppress(FileNotFoundError):
            os.unlink(self._name)
        self._file = private_file.opened(self._name, os.O_CREAT | os.O_EXCL)
        self.size = 0
        self._synced = 0
        try:
            self.write([first_line()])
        except OSError:
            self.drop()
            raise

    def write(self, lines: Iterable[bytes]) -> None:
        """Add the lines; raise OSError."""
        self.size = write_lines(self._file, lines, self.size)
        if self.size - self._synced >= SYNC_BYTES:
            self._sync()

    def _sync(self) -> None:
        if self._synced < self.size:
            os.fsync(self._file)
            self._synced = self.size

    def take_place(self, before: Callable[[], None] = lambda: None) -> int:
        """Take the place of the journal in use and return the open file; raise OSError.

        `before` is called when the new journal is on the disk and the other one is still in its place.
        """
        self._sync()
        before()
        os.rename(self._name, self._path)
        sync_folder(self._path.parent)
        file, self._file = self._file, -1
        return file

    def drop(self) -> None:
        """Remove it, if it has not taken the journal's place."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
            with suppress(OSError):
                os.unlink(self._name)


class Compaction:
    """Copies what is still owed out of the journal in use, step by step."""

    def __init__(self, path: Path, journal: int, end: int) -> None:
        """Begin the new file; `journal` is the open file of the journal in use, `end` its size. Raise OSError."""
        self._journal = journal
        self._end_seen = end
        self._new = NewJournal(path)
        self._at = 0
        """All of the journal before this offset is copied, but for `_begun`."""
        self._begun = b""
        """The beginning of a line whose end is not read yet."""
        self.copied: set[int] = set()
        """The `n` of each alert that is in the new file."""

    def step(self, end: int, owed: set[int]) -> bool:
        """Copy one part of the journal, of those `n` that are owed; return whether all before `end` is copied.

        The part is twice what the journal has grown by since the last step: the copy reaches its end, however many
        alerts come. Raise OSError.
        """
        part = os.pread(self._journal, max(PART_BYTES, 2 * (end - self._end_seen)), self._at)
        if not part and self._at < end:
            raise OSError(errno.ESTALE, "somebody has cut it off")
        self._end_seen = end
        self._at += len(part)
        lines, newline, self._begun = (self._begun + part).rpartition(b"\n")
        lines += newline
        if self._at >= end or len(self._begun) > MOST_WITHOUT_END_BYTES:
            lines, self._begun = lines + self._begun, b""
        self._new.write(self._chosen(lines, owed))
        return self._at >= end

    def _chosen(self, lines: bytes, owed: set[int]) -> Iterable[bytes]:
        for n, line in owed_lines(lines):
            if n in owed:
                self.copied.add(n)
                yield line

    def take_place(self, owed: set[int], last_seq: int, last_n: int) -> tuple[int, int]:
        """End it: note what was settled after it had been copied, and take the journal's place.

        Return the open file and its size. Raise OSError.
        """
        self._new.write([last_line(last_seq, last_n), *gone_lines(sorted(self.copied - owed))])
        size = self._new.size
        return self._new.take_place(), size

    def drop(self) -> None:
        self._new.drop()


def try_disk(path: Path) -> None:
    """Raise OSError unless a file can be written beside the journal at `path`."""
    new = NewJournal(path)
    try:
        new.write([bytes(SYNC_BYTES)])
    finally:
        new.drop()
