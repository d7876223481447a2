# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The journal: what is owed, on disk before it is sent, so that it outlives the monitor and the machine's power.

A file of lines that each prove themselves (journal_lines.py). Alerts that are made and alerts that are settled are
appended; when most of the file is of no use any more, a new one takes its place (journal_new.py). Each write is on
the disk when it returns: whoever writes here writes many alerts at once.

A fault of the disk is an OSError: JournalError, and the journal is opened again later. All other faults are in what
stands in the file, and do not keep the monitor from starting: lines that are whole are taken, the rest is set aside
beside the journal (journal_aside.py).
"""

from __future__ import annotations

import errno
import logging
import os
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING

from sockbpf.delivery import edition1, journal_aside
from sockbpf.delivery.journal_file import read_whole, write_lines
from sockbpf.delivery.journal_lines import (
    Found,
    gone_lines,
    last_line,
    line_bytes,
    number_past,
    owed_line,
    read,
)
from sockbpf.delivery.journal_new import Compaction, NewJournal, try_disk
from sockbpf.process import private_file
from sockbpf.process.private_file import HeldError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from sockbpf.delivery.owed import Owed

log = logging.getLogger(__name__)

DENSE_BYTES = 4 * 2**20
"""A journal up to this size is left as it is; of a larger one no more than half may be of no use."""

MAX_BYTES = 2**30
"""The largest file that is read; a larger one is set aside."""


class JournalError(Exception):
    """The journal cannot be used now; the text says why."""


class JournalHeldError(JournalError):
    """Another monitor has it; `pid` is its process, 0 where it is not known."""

    def __init__(self, path: Path, pid: int) -> None:
        super().__init__(f"{path}: another sockbpf has it" + (f", process {pid}" if pid else ""))
        self.pid = pid


class Journal:
    """An open journal; for one thread at a time."""

    def __init__(self, path: Path) -> None:
        """Open the file, make it if it is missing, set aside what makes no sense.

        Raise JournalError when the disk does not let us, JournalHeldError when another monitor has it.
        """
        self.path = path
        self.set_aside = 0
        """How many alerts, as far as is known, were set aside on opening."""
        self._file = -1
        self._end = 0
        self._live: set[int] = set()
        """The `n` of each alert that is owed."""
        self._found: list[Owed] | None = None
        """What is owed, from the opening to the first change."""
        self._dense_bytes = DENSE_BYTES
        self._compaction: Compaction | None = None
        self.last_seq = self.last_n = 0
        """Those of the last alert that was written."""
        self._lock = self._locked()
        try:
            self._open()
        except OSError as error:
            self.close()
            raise self._error(error) from None
        except BaseException:
            self.close()
            raise
        if unsafe := private_file.unsafe_folder(path.parent):
            log.warning("others can write into %s: they could take the journal %s away", unsafe, path)

    def owed(self) -> list[Owed]:
        """Return all that is owed, oldest first. Raise JournalError."""
        if self._found is not None:
            return self._found
        try:
            return list(read(read_whole(self._file)).owed.values())
        except OSError as error:
            raise self._error(error) from None

    def write(self, made: Iterable[Owed], settled: Iterable[int], last_seq: int, last_n: int) -> None:
        """Add what was made and forget what was settled; on return it is on the disk. Raise JournalError."""
        made = list(made)
        new = {owed.n for owed in made}
        gone = [n for n in settled if n in self._live or n in new]
        try:
            self._append(list(chain(map(owed_line, made), [last_line(last_seq, last_n)], gone_lines(gone))))
        except OSError as error:
            raise self._error(error) from None
        self._found = None
        self._live |= new
        self._live.difference_update(gone)
        self.last_seq, self.last_n = last_seq, last_n

    def replace(self, owed: Iterable[Owed], last_seq: int, last_n: int) -> None:
        """Hold these alerts and no others. Raise JournalError."""
        try:
            self._begin(owed, last_seq, last_n)
        except OSError as error:
            raise self._error(error) from None

    @property
    def is_compact(self) -> bool:
        """Whether it need not be made smaller."""
        return self._compaction is None and self._end <= self._dense_bytes

    def make_compact(self) -> None:
        """Do one step of making it smaller; where the disk has no room for that now, it is left as it is."""
        if self.is_compact:
            return
        try:
            if self._compaction is None:
                self._compaction = Compaction(self.path, self._file, self._end)
            if not self._compaction.step(self._end, self._live):
                return
            size = self._compaction.take_place(self._live, self.last_seq, self.last_n)
        except OSError:
            self._give_up_compaction()
            return
        live = self._live & self._compaction.copied
        self._compaction = None
        self._use(*size, live)

    def close(self) -> None:
        """Close the file and let the lock go."""
        self._give_up_compaction()
        for file in (self._file, self._lock):
            if file >= 0:
                with suppress(OSError):
                    os.close(file)
        self._file = self._lock = -1

    def _error(self, error: OSError) -> JournalError:
        text = error.strerror or type(error).__name__
        return JournalError(text if str(self.path) in text else f"{self.path}: {text}")

    # opening

    def _locked(self) -> int:
        lock = self.path.with_name(f"{self.path.name}.lock")
        try:
            private_file.make_folder(self.path.parent)
            journal_aside.move_strangers_file(lock)
            return private_file.locked(lock)
        except HeldError as error:
            raise JournalHeldError(self.path, error.pid) from None
        except OSError as error:
            if isinstance(error, FileExistsError):
                error = NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            raise self._error(error) from None

    def _open(self) -> None:
        journal_aside.move_strangers_file(self.path)
        if (old := edition1.beside(self.path)) is not None:
            self._move_on(old)
            return
        try:
            self._file = private_file.opened(self.path)
        except FileNotFoundError:
            self._begin([], 0, 0)
            return
        size = os.fstat(self._file).st_size
        found = read(read_whole(self._file)) if size <= MAX_BYTES else Found(whole_bytes=size)
        if found.lines and not found.of_another_edition:
            self._go_on(found)
        elif found.whole_bytes:
            self.set_aside += 1
            self._begin([], number_past(0), 0, lambda: journal_aside.refuse(self.path))
        else:
            self._begin([], 0, 0)

    def _go_on(self, found: Found) -> None:
        """Go on with a journal, without the damaged lines of it."""
        owed = list(found.owed.values())
        if found.broken:
            self.set_aside += found.lost
            last_seq = number_past(found.last_seq)
            self._begin(owed, last_seq, found.last_n, lambda: journal_aside.keep_broken(self.path, found))
        else:
            os.ftruncate(self._file, found.whole_bytes)
            self._end = found.whole_bytes
            self._live = set(found.owed)
            self._dense_bytes = max(DENSE_BYTES, 2 * sum(map(line_bytes, owed)))
            self.last_seq, self.last_n = found.last_seq, found.last_n
        self._found = owed

    def _move_on(self, old: Path) -> None:
        """Take over what the edition before this one owed, an SQLite database."""
        from sockbpf.delivery import edition1_rows

        edition1.make_private(old)
        try_disk(self.path)  # SQLite does not tell a fault of the disk from one of the file
        found, is_whole = edition1_rows.read(old)

        def keep() -> None:
            if found.broken:
                journal_aside.keep_broken(self.path, found)
            if not is_whole:
                kept = journal_aside.rename(old, edition1.SIDES)
                log.error(
                    "%s is damaged: set aside as %s, %d alerts of it are owed", old, kept, len(found.owed)
                )

        self.set_aside += 0 if is_whole else max(1, len(found.broken))
        last_seq = found.last_seq if is_whole else number_past(found.last_seq)
        self._begin(found.owed.values(), last_seq, found.last_n, before=keep)
        edition1.remove(old, but=self.path)
        log.info("moved the journal %s on to this edition, %d alerts are owed", old, len(found.owed))

    # writing

    def _begin(
        self, owed: Iterable[Owed], last_seq: int, last_n: int, before: Callable[[], None] = lambda: None
    ) -> None:
        """Put a new journal in the place of what is there; raise OSError, then nothing has changed.

        `before` is called when the new one is on the disk, before it takes its place.
        """
        self._give_up_compaction()
        new = NewJournal(self.path)
        live: set[int] = set()

        def lines() -> Iterable[bytes]:
            yield last_line(last_seq, last_n)
            for each in owed:
                live.add(each.n)
                yield owed_line(each)

        try:
            new.write(lines())
            file = new.take_place(before)
        except BaseException:
            new.drop()
            raise
        self.last_seq, self.last_n = last_seq, last_n
        self._use(file, new.size, live)

    def _use(self, file: int, size: int, live: set[int]) -> None:
        """Go on with another file, which holds the alerts of these `n`."""
        if self._file >= 0:
            os.close(self._file)
        self._file, self._end = file, size
        self._live = live
        self._found = None
        self._dense_bytes = max(DENSE_BYTES, 2 * size)

    def _append(self, lines: list[bytes]) -> None:
        """Write the lines and sync them; raise OSError. Room on the disk that a compaction took is given back."""
        status = os.fstat(self._file)
        if not status.st_nlink or status.st_size != self._end:
            raise OSError(errno.ESTALE, "somebody has removed or changed it")
        try:
            self._append_once(lines)
        except OSError:
            if self._compaction is None:
                raise
            self._give_up_compaction()
            self._append_once(lines)

    def _append_once(self, lines: list[bytes]) -> None:
        try:
            end = write_lines(self._file, lines, self._end)
            os.fdatasync(self._file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, self._end)
            raise
        self._end = end

    def _give_up_compaction(self) -> None:
        if not self.is_compact:
            self._dense_bytes = self._end + DENSE_BYTES
        if self._compaction:
            self._compaction.drop()
            self._compaction = None
