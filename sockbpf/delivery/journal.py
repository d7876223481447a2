# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The journal: what is owed, on disk before it is sent, so that it outlives the monitor and the machine's power.

A file of lines that each prove themselves (journal_lines.py). What is made and what is settled is put behind them;
when most of it is of no use any more a new file takes its place. Every write is on the disk when it returns; that
is why whoever writes here writes many alerts at once.

What is wrong with the disk is an OSError of it: JournalError, and tried again later. Everything else that can be
wrong is wrong with what stands in the file, and keeps nobody from starting: what is whole is taken, the rest is set
aside beside the journal.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import stat
import time
from contextlib import suppress
from itertools import chain
from typing import TYPE_CHECKING

from sockbpf.delivery import edition1
from sockbpf.delivery.journal_lines import (
    Found,
    first_line,
    gone_lines,
    last_line,
    owed_line,
    owed_lines,
    read,
)
from sockbpf.process import private_file
from sockbpf.process.private_file import HeldError, NotOursError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from sockbpf.delivery.owed import Owed

log = logging.getLogger(__name__)

DENSE_BYTES = 4 * 2**20
"""Up to this a journal may be, whatever is in it; beyond it no more than half may be of no use."""

MAX_BYTES = 2**30
"""Of a file that is read; a larger one is set aside."""

ASIDE_BYTES = 16 * 2**20
"""Of all broken pieces that are kept; more are counted, but not kept."""

ASIDE_FILES = 8
"""As many senseless files are kept, the oldest goes."""

AT_ONCE_BYTES = 2**17
"""About as much is read or written at once: what the journal holds shall not stand in memory a second time."""

MOST_WITHOUT_END_BYTES = 2**20
"""No line is so long: in so much of it that has no end, all ends are damaged."""

NAMED = 5
"""Of broken pieces, as many are named in one line of the log."""


NAMES = tuple(re.compile(rb'"%b":"([0-9a-z]{1,20})"' % name) for name in (b"id", b"event", b"seq"))


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
        """How many alerts, as far as can be told, were set aside on opening."""
        self._file = -1
        self._end = 0
        self._live: set[int] = set()
        self._dense_bytes = DENSE_BYTES
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
        try:
            return list(read(_content(self._file)).owed.values())
        except OSError as error:
            raise self._error(error) from None

    def write(self, made: Iterable[Owed], settled: Iterable[int], last_seq: int, last_n: int) -> None:
        """Add what was made and forget what was settled; on return it is on the disk. Raise JournalError."""
        made = list(made)
        new = {owed.n for owed in made}
        gone = [n for n in settled if n in self._live or n in new]
        try:
            self._append(chain(map(owed_line, made), [last_line(last_seq, last_n)], gone_lines(gone)))
        except OSError as error:
            raise self._error(error) from None
        self._live |= new
        self._live.difference_update(gone)
        self.last_seq, self.last_n = last_seq, last_n
        if self._end > self._dense_bytes:
            self._make_dense()

    def replace(self, owed: Iterable[Owed], last_seq: int, last_n: int) -> None:
        """Hold this instead of what it held, after a time in which it could not be written. Raise JournalError."""
        try:
            self._begin(_lines(owed), last_seq, last_n)
        except OSError as error:
            raise self._error(error) from None

    def close(self) -> None:
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
            self._move_stranger(lock)
            return private_file.locked(lock)
        except HeldError as error:
            raise JournalHeldError(self.path, error.pid) from None
        except OSError as error:
            if isinstance(error, FileExistsError):
                error = NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
            raise self._error(error) from None

    def _move_stranger(self, path: Path) -> None:
        """Move aside what another user has put there: he shall not keep us from our file."""
        with suppress(FileNotFoundError):
            status = path.lstat()
            ours = status.st_uid == os.geteuid() and (
                status.st_nlink == 1 or not stat.S_ISREG(status.st_mode)
            )
            if not ours and not stat.S_ISDIR(status.st_mode):
                log.error("%s is not ours: set aside as %s", path, self._rename_aside(path))

    def _open(self) -> None:
        self._move_stranger(self.path)
        if (old := self._old()) is not None:
            self._move_on(old)
            return
        try:
            self._file = private_file.opened(self.path)
        except FileNotFoundError:
            self._begin([], 0, 0)
            return
        size = os.fstat(self._file).st_size
        found = read(_content(self._file)) if size <= MAX_BYTES else Found(whole_bytes=size)
        if found.lines and not found.of_another_edition:
            self._go_on(found)
        elif found.whole_bytes:
            self.set_aside += 1
            self._begin([], _past(0), 0, before=self._refuse)
        else:
            self._begin([], 0, 0)

    def _go_on(self, found: Found) -> None:
        """Go on with a journal, without what is broken of it."""
        if found.broken:
            self.set_aside += found.lost
            owed = _lines(found.owed.values())
            self._begin(owed, _past(found.last_seq), found.last_n, before=lambda: self._keep(found))
            return
        os.ftruncate(self._file, found.whole_bytes)
        self._end = found.whole_bytes
        self._live = set(found.owed)
        self.last_seq, self.last_n = found.last_seq, found.last_n

    def _refuse(self) -> None:
        """Set the file aside as a whole."""
        kept = self._rename_aside(self.path)
        log.error(
            "%s is no journal of this edition: set aside as %s, what it owed is not sent", self.path, kept
        )

    def _keep(self, found: Found) -> None:
        """Set aside what is broken of a journal; raise OSError."""
        aside = self.path.with_name(f"{self.path.name}.set-aside")
        self._move_stranger(aside)
        file = private_file.opened(aside, os.O_CREAT | os.O_APPEND)
        try:
            kept = os.fstat(file).st_size + sum(map(len, found.broken)) <= ASIDE_BYTES
            if kept:
                _write_all(
                    file, b"".join(b"# %d: %d bytes\n%b\n" % (time.time(), len(p), p) for p in found.broken)
                )
                os.fsync(file)
        finally:
            os.close(file)
        log.error(
            "%s is damaged: set aside %d of its alerts, %s; %d are whole and owed; damaged are %s",
            self.path,
            found.lost,
            f"kept in {aside}" if kept else f"not kept, {aside} is full",
            len(found.owed),
            "; ".join(_named(piece) for piece in found.broken[:NAMED]),
        )

    def _rename_aside(self, path: Path, sides: Iterable[str] = ("",)) -> Path:
        earlier = sorted(path.parent.glob(f"{path.name}.unreadable-*"))
        for oldest in earlier[: max(0, len(earlier) + 1 - ASIDE_FILES)]:
            with suppress(OSError):
                oldest.unlink()
        kept = path.with_name(f"{path.name}.unreadable-{time.time_ns()}")
        for side in sides:
            with suppress(FileNotFoundError):
                os.rename(f"{path}{side}", f"{kept}{side}")
        return kept

    # the edition before this one

    def _old(self) -> Path | None:
        """Return the SQLite database that is to be moved on; None if there is none."""
        beside = self.path.with_name(f"{self.path.name}.sqlite")
        old = self.path if os.path.lexists(self.path) else beside
        try:
            file = private_file.opened(old)
        except FileNotFoundError:
            return None
        except NotOursError:
            if old == self.path:
                raise
            return None
        try:
            return old if os.pread(file, len(edition1.MAGIC), 0) == edition1.MAGIC else None
        finally:
            os.close(file)

    def _move_on(self, old: Path) -> None:
        for side in edition1.SIDES[1:]:
            with suppress(FileNotFoundError):
                os.close(private_file.opened(old.with_name(f"{old.name}{side}")))
        self._try_disk()
        found, is_whole = edition1.read(old)

        def keep() -> None:
            if found.broken:
                self._keep(found)
            if not is_whole:
                kept = self._rename_aside(old, edition1.SIDES)
                log.error(
                    "%s is damaged: set aside as %s, %d alerts of it are owed", old, kept, len(found.owed)
                )

        self.set_aside += 0 if is_whole else max(1, len(found.broken))
        last_seq = found.last_seq if is_whole else _past(found.last_seq)
        self._begin(_lines(found.owed.values()), last_seq, found.last_n, before=keep)
        for side in edition1.SIDES:
            gone = old.with_name(f"{old.name}{side}")
            if gone != self.path:
                gone.unlink(missing_ok=True)
        log.info("moved the journal %s on to this edition, %d alerts are owed", old, len(found.owed))

    def _try_disk(self) -> None:
        """Raise OSError unless one can write here: SQLite does not tell the disk's faults from a file's."""
        new = self._new()
        file = private_file.opened(new, os.O_CREAT | os.O_EXCL)
        try:
            _write_all(file, bytes(2**16))
            os.fsync(file)
        finally:
            os.close(file)
            os.unlink(new)

    # writing

    def _new(self) -> Path:
        new = self.path.with_name(f"{self.path.name}.new")
        with suppress(FileNotFoundError):
            os.unlink(new)
        return new

    def _begin(
        self,
        owed: Iterable[tuple[int, bytes]],
        last_seq: int,
        last_n: int,
        before: Callable[[], None] = lambda: None,
    ) -> None:
        """Put a new journal in the place of what is there; raise OSError, then nothing has changed.

        `owed` are the alerts: `n`, and the line. `before` is done when the new one is on the disk, before it takes
        its place.
        """
        new = self._new()
        file = private_file.opened(new, os.O_CREAT | os.O_EXCL)
        live: set[int] = set()

        def lines() -> Iterator[bytes]:
            yield first_line()
            yield last_line(last_seq, last_n)
            for n, line in owed:
                live.add(n)
                yield line

        try:
            size = _write_lines(file, lines(), 0)
            os.fsync(file)
            before()
            os.rename(new, self.path)
            _sync_folder(self.path.parent)
        except BaseException:
            os.close(file)
            with suppress(OSError):
                os.unlink(new)
            raise
        if self._file >= 0:
            os.close(self._file)
        self._file, self._end = file, size
        self._live = live
        self.last_seq, self.last_n = last_seq, last_n
        self._dense_bytes = max(DENSE_BYTES, 2 * size)

    def _append(self, lines: Iterable[bytes]) -> None:
        status = os.fstat(self._file)
        if not status.st_nlink or status.st_size != self._end:
            raise OSError(errno.ESTALE, "somebody has removed or changed it")
        try:
            end = _write_lines(self._file, lines, self._end)
            os.fdatasync(self._file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(self._file, self._end)
            raise
        self._end = end

    def _make_dense(self) -> None:
        """Leave out what is of no use any more; where the disk has no room for that now, later."""
        try:
            self._begin(self._still_owed(), self.last_seq, self.last_n)
        except OSError:
            self._dense_bytes = self._end + DENSE_BYTES

    def _still_owed(self) -> Iterator[tuple[int, bytes]]:
        """Yield what is owed as it stands in the file, without reading all of it at once; raise OSError."""
        for block in _blocks(self._file):
            yield from ((n, line) for n, line in owed_lines(block) if n in self._live)


def _lines(owed: Iterable[Owed]) -> Iterator[tuple[int, bytes]]:
    return ((each.n, owed_line(each)) for each in owed)


def _content(file: int) -> bytes:
    """Return all of the file; raise OSError."""
    parts: list[bytes] = []
    at = 0
    while part := os.pread(file, 2**20, at):
        parts.append(part)
        at += len(part)
    return b"".join(parts)


def _blocks(file: int) -> Iterator[bytes]:
    """Yield the file in parts that end where a line ends, but where damage has left none; raise OSError."""
    at = 0
    begun = b""
    while part := os.pread(file, AT_ONCE_BYTES, at):
        at += len(part)
        ended, newline, begun = (begun + part).rpartition(b"\n")
        yield ended + newline
        if len(begun) > MOST_WITHOUT_END_BYTES:
            yield begun
            begun = b""
    yield begun


def _write_all(file: int, data: bytes, at: int | None = None) -> int:
    """Write all of it, at the file's own place or at `at`; return its length. Raise OSError."""
    done = 0
    while done < len(data):
        rest = data[done:]
        done += os.write(file, rest) if at is None else os.pwrite(file, rest, at + done)
    return done


def _write_lines(file: int, lines: Iterable[bytes], at: int) -> int:
    """Write them from `at` on; return where they end. Raise OSError."""
    waiting = bytearray()
    for line in lines:
        waiting += line
        if len(waiting) >= AT_ONCE_BYTES:
            at += _write_all(file, bytes(waiting), at)
            waiting.clear()
    return at + _write_all(file, bytes(waiting), at)


def _sync_folder(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _past(seq: int) -> int:
    """Return a `seq` that is past all that may have been lost: by the milliseconds none comes twice, a gap shows."""
    return max(seq, time.time_ns() // 10**6)


def _named(piece: bytes) -> str:
    """Return what can be said of a broken piece, an alert as a rule: nothing but the names of numbers."""
    known = (each.search(piece) for each in NAMES)
    return f"{len(piece)} bytes " + "/".join(name[1].decode() for name in known if name)
