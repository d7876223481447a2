# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The log: lines to stderr, by a thread of its own: a pipe that nobody reads or a disk that hangs stops nothing else.

Lines for which the memory of waiting lines has no room are dropped and counted; a line says so once writing works.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import threading
from collections import deque
from contextlib import suppress
from typing import TYPE_CHECKING

from sockbpf.process.life import REST_S, described, start_thread

if TYPE_CHECKING:
    from sockbpf.process.life import Pulse

FORM = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s", "%Y-%m-%dT%H:%M:%S%z")

MOST_BYTES = 4 * 2**20
"""The memory for waiting lines."""

KEPT_BYTES = 2**20
"""Memory besides for warnings and errors alone."""

CHUNK_BYTES = 2**16
"""About so much is written by one call."""

LAST_S = 0.3
"""How long the last line waits for the lines before it, and then for room in the pipe."""

SYSLOG = "/dev/log"
CRITICAL = 3 * 8 + 2
"""The priority of a daemon's critical message, as syslog(3) writes it."""


class LogWriter:
    """Writes lines into a descriptor, in their order; `put` may be called by any thread."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._changed = threading.Condition()
        self._lines: deque[bytes] = deque()
        self._bytes = 0
        self._is_writing = False
        self._dropped = self._logged = 0
        self._is_torn = False

    def put(self, line: str, *, is_urgent: bool = False) -> None:
        """Queue a line, without waiting for its write."""
        data = f"{line}\n".encode(errors="backslashreplace")
        with self._changed:
            if self._bytes + len(data) > MOST_BYTES + (KEPT_BYTES if is_urgent else 0):
                self._dropped += 1
                return
            self._lines.append(data)
            self._bytes += len(data)
            if len(self._lines) == 1:
                self._changed.notify_all()

    def dropped(self) -> int:
        """Return how many lines were not written."""
        with self._changed:
            return self._dropped

    def drain(self, seconds: float) -> bool:
        """Wait until all lines are written; False if that took longer."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._lines and not self._is_writing, seconds)

    def last_word(self, line: str) -> None:
        """Write a line after the others; to the system's log if the descriptor takes none."""
        self.drain(LAST_S)
        data = f"{line}\n".encode(errors="backslashreplace")
        if self._has_room(LAST_S):
            with suppress(OSError):
                os.write(self._descriptor, data)
                return
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as syslog:
            syslog.setblocking(False)
            syslog.sendto(f"<{CRITICAL}>sockbpf[{os.getpid()}]: {line}".encode(), SYSLOG)

    def _has_room(self, seconds: float) -> bool:
        poll = select.poll()
        poll.register(self._descriptor, select.POLLOUT)
        return bool(poll.poll(seconds * 1000))

    def run(self, pulse: Pulse) -> None:
        while True:
            pulse.beat()
            with self._changed:
                self._is_writing = False
                if not self._lines:
                    self._changed.notify_all()
                    self._changed.wait(REST_S)
                lines = self._taken()
                self._is_writing = bool(lines)
            if lines:
                self._write(lines)

    def _taken(self) -> list[bytes]:
        lines: list[bytes] = []
        size = 0
        while self._lines and size < CHUNK_BYTES:
            lines.append(self._lines.popleft())
            size += len(lines[-1])
        self._bytes -= size
        return lines

    def _write(self, lines: list[bytes]) -> None:
        data = b"".join(lines)
        try:
            self._write_all(b"\n" + data if self._is_torn else data)
            self._is_torn = False
            if (unlogged := self._dropped - self._logged) > 0:
                self._logged += unlogged
                self._write_all(
                    f"{unlogged} lines of the log were dropped: nobody read them in time\n".encode()
                )
        except OSError:  # the descriptor is closed, its pipe has no reader, the disk is full
            with self._changed:
                self._dropped += len(lines)

    def _write_all(self, data: bytes) -> None:
        while data:
            try:
                written = os.write(self._descriptor, data)
            except BlockingIOError:  # another process that shares the pipe has made it non-blocking
                self._has_room(REST_S)
                continue
            data = data[written:]
            self._is_torn = bool(data)


class _Handler(logging.Handler):
    def __init__(self, writer: LogWriter) -> None:
        super().__init__()
        self._writer = writer

    def emit(self, record: logging.LogRecord) -> None:
        try:
            line = self.format(record)
        except Exception as error:  # noqa: BLE001  a line that cannot be formatted must not end the process
            line = f"a line of the log could not be made: {record.msg!r}: {described(error)}"
        self._writer.put(line, is_urgent=record.levelno >= logging.WARNING)


_writer: LogWriter | None = None


def open_what_is_closed() -> None:
    """Open those of the descriptors 0 to 2 that are closed: else the next file opened would get the log's number."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # the lowest that is free


def start(level: str) -> None:
    """Log to stderr, one line each, with the time. Raise NoThreadError."""
    global _writer  # noqa: PLW0603  a process has one log
    # A descriptor of its own: whatever becomes of descriptor 2, the log goes where stderr led at the start.
    _writer = LogWriter(os.dup(2))
    # A pipe that nobody reads is no reason to start the process again: the next process would have the same pipe.
    start_thread("log", _writer.run, restart_helps=False)
    handler = _Handler(_writer)
    handler.setFormatter(FORM)
    logging.basicConfig(handlers=[handler], level=level.upper())


def dropped() -> int:
    """Return how many lines of the log were not written."""
    return _writer.dropped() if _writer else 0


def last_word(line: str) -> None:
    """Write the process's last line, in less than a second, even if the log takes none."""
    (_writer or LogWriter(2)).last_word(line)


def drain(seconds: float) -> bool:
    """Wait until the log is written; False if that took longer."""
    return _writer is None or _writer.drain(seconds)
