# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A second process of a store: it reads batches of alerts on a core of its own, while the store writes others.

Python runs one thread of a process at a time. What this process is asked and answers goes through a pipe; when that
closes, however the store ended, it ends too. Without it, or when it is gone, the store reads batches itself.
"""

from __future__ import annotations

import logging
import marshal
import os
import signal
import socket
import struct
import threading
from dataclasses import fields
from multiprocessing import Pipe
from operator import attrgetter
from typing import TYPE_CHECKING

from sockbpf.store.data.entry import Entry
from sockbpf.store.data.rows import digest_of_entry
from sockbpf.store.web.posted_alerts import Batch, batch_of

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

log = logging.getLogger(__name__)

PATIENCE_S = 10.0
"""How long one batch may take: less than its request may."""
NO_ANSWER = f"no answer for {PATIENCE_S:g} s"
_values_of = attrgetter(*(field.name for field in fields(Entry)))
"""The values of an entry in their order; the last is its digest."""


class Reader:
    """Reads batches, one at a time."""

    def __init__(self) -> None:
        """Start the process: a copy of this one, which must not have opened a database yet."""
        self._pipe: Connection | None
        self._pipe, its_pipe = Pipe()
        self._lock = threading.Lock()
        """A request may end, and the next one come, while a thread waits for the answer to the first."""
        self._pid = os.fork()
        if not self._pid:
            try:
                _serve(its_pipe)
            finally:
                os._exit(0)
        its_pipe.close()

    def batch_of(self, body: bytes, encoding: str, *, is_trusted: bool) -> Batch:
        """Return what `batch_of` does, or raise Problem."""
        answer = self._ask(marshal.dumps((body, encoding, is_trusted))) if self._pipe else b""
        if not answer:
            return batch_of(body, encoding, is_trusted=is_trusted)
        entries, refused = marshal.loads(answer)  # noqa: S302  our own process wrote it
        return Batch([Entry(*values) for values in entries], refused)

    def _ask(self, question: bytes) -> bytes:
        """Return the answer to one question; nothing if there is none."""
        with self._lock:
            if self._pipe is None:
                return b""
            try:
                _send(self._pipe, question)
                if not self._pipe.poll(PATIENCE_S):
                    raise TimeoutError(NO_ANSWER)
                return self._pipe.recv_bytes()
            except (OSError, EOFError) as error:
                self._give_up(self._pipe, error)
                return b""

    def _give_up(self, pipe: Connection, error: Exception) -> None:
        log.error("the process that reads batches is gone, the store reads them itself: %s", error)
        pipe.close()
        self._pipe = None
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


def _send(pipe: Connection, question: bytes) -> None:
    """Send a question; raise TimeoutError if nobody takes it."""
    with socket.socket(fileno=os.dup(pipe.fileno())) as end:
        seconds = struct.pack("ll", int(PATIENCE_S), 0)
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, seconds)
    try:
        pipe.send_bytes(question)
    except BlockingIOError:
        raise TimeoutError(NO_ANSWER) from None


def _serve(pipe: Connection) -> None:
    """Answer until the store closes its end; it has no file but the pipe, and logs nothing."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)  # the store, which is sent these too, still writes what it has
    keep = pipe.fileno()
    os.closerange(0, keep)
    os.closerange(keep + 1, os.sysconf("SC_OPEN_MAX"))
    while True:
        pipe.send_bytes(_answer(pipe.recv_bytes()))


def _answer(question: bytes) -> bytes:
    """Return the batch; nothing if it is a problem: the store finds that itself."""
    body, encoding, is_trusted = marshal.loads(question)  # noqa: S302  our own process wrote it
    try:
        batch = batch_of(body, encoding, is_trusted=is_trusted)
    except Exception:  # noqa: BLE001
        return b""
    entries = [(*_values_of(entry)[:-1], digest_of_entry(entry)) for entry in batch.entries]
    return marshal.dumps((entries, batch.refused))
