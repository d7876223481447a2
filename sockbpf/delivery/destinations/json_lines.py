# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A file that gets each alert as one line with a JSON object."""

from __future__ import annotations

import json
import os
import re
import stat
import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from sockbpf.delivery.transport import TransportError
from sockbpf.record.field import Kind
from sockbpf.record.fields import FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

TEXT = frozenset(field.name for field in FIELDS if field.kind in {Kind.TEXT, Kind.ADDRESS})
"""Fields that are text, whatever they look like: a process can be called 1e5. In all others a number is a number."""

NUMBER = re.compile(r"-?(0|[1-9][0-9]*)(\.[0-9]+)?")

FLAGS = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK

_writing: dict[str, threading.Lock] = {}
"""A lock for each path. The file itself is not locked: whoever may read a file can hold its lock for ever."""


def line_of(fields: Mapping[str, str]) -> str:
    """Return an alert as one line of ASCII. Its numbers keep all the digits that the alert has."""
    return "{" + ",".join(f"{json.dumps(key)}:{literal(key, text)}" for key, text in fields.items()) + "}"


def literal(key: str, text: str) -> str:
    """Return the value of a field as JSON writes it."""
    return text if key not in TEXT and NUMBER.fullmatch(text) else json.dumps(text)


class JsonLines:
    """Appends to the file at `path`, which it makes (mode 0640) if its folder is there.

    When `send` returns, the line is on the disk. Once the file was moved away, as by logrotate, a new one is made at
    `path`, without a signal; a line that was written at that moment is in both files. Lines that are written while
    logrotate's copytruncate copies and cuts the file may be lost.
    """

    def __init__(self, *, path: str | Path) -> None:
        self._path = os.fspath(path)
        self._lock = _writing.setdefault(self._path, threading.Lock())
        self._file: int | None = None

    def send(self, fields: Mapping[str, str]) -> None:
        """Append the alert. Raise TransportError, never a permanent one, for every error of the disk."""
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
        """Write the line; return a file that was at `path` both before and after that."""
        while True:
            if self._file is None or not self._is_at_path(self._file):
                self.close()
                self._file = self._opened()
            self._write(self._file, line)
            # A file that was moved in between may have been compressed and removed already: write again.
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
        """Append by one write; where the file ends in the middle of a line, begin a new line."""
        size = os.fstat(file).st_size
        if size and os.pread(file, 1, size - 1) != b"\n":
            line = b"\n" + line
        written = os.write(file, line)
        if written == len(line):
            return
        end = os.lseek(file, 0, os.SEEK_CUR)
        if os.fstat(file).st_size == end:  # no other process has written after it
            os.ftruncate(file, end - written)
        raise TransportError(f"{self._path}: room for {written} of {len(line)} bytes")
