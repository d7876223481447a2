# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A file with one JSON object per line and alert."""

from __future__ import annotations

import json
import os
import re
import stat
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from sockbpf.delivery.transport import TransportError
from sockbpf.record.fields import FIELDS, Kind

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TEXT = frozenset(field.name for field in FIELDS if field.kind in {Kind.TEXT, Kind.ADDRESS})
"""What is text, though it may look like a number: a process can be called 1e5. All else that looks so is one."""

NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")

FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK

_writing: dict[str, threading.Lock] = {}
"""By path. No lock of the file itself: whoever may read it could hold one for ever."""


def line_of(fields: Mapping[str, str]) -> str:
    """Return an alert as one line of ASCII. Its numbers stand there digit by digit as they were told."""
    return "{" + ",".join(f"{json.dumps(key)}:{_value(key, text)}" for key, text in fields.items()) + "}"


def _value(key: str, text: str) -> str:
    return text if key not in TEXT and NUMBER.fullmatch(text) else json.dumps(text)


class JsonLines:
    """Appends to the file at `path`, which it makes (mode 0640) if its folder is there.

    On return of `send` the line is on the disk. A file that was moved away is left for a new one at `path`, so
    that logrotate needs no word with us; a line that it was written into while it moved stands in both. What
    copytruncate loses between its copy and its cut nobody can mend.
    """

    def __init__(self, *, path: str | Path) -> None:
        self._path = os.fspath(path)
        self._lock = _writing.setdefault(self._path, threading.Lock())
        self._file: int | None = None

    def send(self, fields: Mapping[str, str]) -> None:
        """Append the alert. Raise TransportError, passing, for whatever the disk says."""
        try:
            line = f"{line_of(fields)}\n".encode("ascii")
            with self._lock:
                file = self._append(line)
            os.fdatasync(file)
        except OSError as error:
            self.close()
            raise TransportError(f"{self._path}: {error.strerror}") from None

    def close(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                os.close(file)

    def _append(self, line: bytes) -> int:
        """Return the file that was at `path` before the line was written into it and after."""
        while True:
            if self._file is None or not self._is_at_path(self._file):
                self.close()
                self._file = self._opened()
            self._write(self._file, line)
            # Moved in between, it may have been compressed and removed already.
            if self._is_at_path(self._file):
                return self._file

    def _opened(self) -> int:
        file = os.open(self._path, FLAGS, 0o640)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            raise TransportError(f"{self._path}: not a regular file")
        return file

    def _is_at_path(self, file: int) -> bool:
        try:
            return os.path.samestat(os.stat(self._path), os.fstat(file))
        except FileNotFoundError:
            return False

    def _write(self, file: int, line: bytes) -> None:
        """Append in one write; what was cut short, by whomever, does not take the line with it."""
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            line = b"\n" + line
        written = os.write(file, line)
        if written == len(line):
            return
        end = os.lseek(file, 0, os.SEEK_CUR)
        if os.fstat(file).st_size == end:  # nobody has written behind it
            os.ftruncate(file, end - written)
        raise TransportError(f"{self._path}: room for {written} of {len(line)} bytes")
