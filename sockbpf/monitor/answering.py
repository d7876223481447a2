# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Answers whoever asks the running monitor for its status, on a Unix socket, by a thread of its own.

Who connects gets the status as one line of JSON, and the end of the stream. Nothing is read from a client, but for
one whose own socket has a name that begins with ORDER: it sends one line of JSON, an order, and gets the answer to
it. An answer fits into the socket's buffer: a client that hangs holds up nobody. Only root, and the monitor's own
user, are answered. The loop makes a status only when it is asked for one, at most twice a second.

A lock beside the socket says whose the path is: a second monitor leaves it alone, and the socket of one that was
killed is taken over.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import stat
import threading
import time
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from sockbpf import __version__
from sockbpf.monitor.waking import Waking
from sockbpf.process import private_file
from sockbpf.process.life import REST_S, described, passing, start_thread
from sockbpf.process.peer import ORDER, peer_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from sockbpf.counters import Counters
    from sockbpf.process.life import Pulse

log = logging.getLogger(__name__)

LOOP_S = 1.0
"""So long the loop may take to make a status; it is said if it takes longer."""

FRESH_S = 0.5
"""A status is given to everybody who asks within this time after it was made."""

APART_S = 0.01
"""The least time between two answers."""

SEND_S = 1.0
"""How long a client may take to make room for its answer, if its buffer is too small for all of it."""

ORDER_BYTES = 64 * 1024
"""The longest order."""

ORDER_S = 1.0
"""So long a client may take to send an order that it has announced."""

ANSWER_BYTES = 128 * 1024
"""The longest answer; of a longer one open episodes are left out."""

AGAIN_S = 10.0
"""The interval between two tries to have the socket, while that fails."""

BACKLOG = 8
MODE = 0o600

STOP_S = 2.0


class Answering:
    """Begins with `start`; the loop calls `give_wanted` each time it is woken."""

    def __init__(
        self,
        path: Path | None,
        wake: Callable[[], None],
        counters: Counters,
        order: Callable[[Mapping[str, Any]], dict[str, Any]] = lambda _: {"faults": ["no orders are taken"]},
    ) -> None:
        """`path` is where the socket is to be, None: nowhere; `wake` wakes the loop.

        `order` is called with an order, by this thread, and returns the answer to it.
        """
        self._order = order
        self._path = path
        self._wake = wake
        self._counters = counters
        self._changed = threading.Condition()
        self._wanted = False
        self._given: dict[str, Any] | None = None
        self._made_s = 0.0
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._said = ""
        self._waking = Waking()
        """By a client, or by the stop."""

    def start(self) -> None:
        """Answer from now on. Raise NoThreadError."""
        if self._path:
            self._thread = start_thread("status", self._run, restart_helps=False)

    def stop(self) -> None:
        """Answer nobody any more; the socket is gone then."""
        self._stop.set()
        self._waking.wake()
        if self._thread:
            self._thread.join(STOP_S)

    def give_wanted(self, make: Callable[[], dict[str, Any]]) -> None:
        """Give the status that `make` returns, if one is wanted. For the loop."""
        if not self._wanted:
            return
        made: dict[str, Any] | None = None
        with passing(self._counters, "status_failed", "the status cannot be made"):
            made = make()
        with self._changed:
            self._given, self._made_s, self._wanted = made, time.monotonic(), False
            self._changed.notify_all()

    def _run(self, pulse: Pulse) -> None:
        assert self._path  # noqa: S101  else it is not started
        while not self._stop.is_set():
            pulse.beat()
            with passing(self._counters, "status_failed", "the status is not answered"):
                try:
                    self._serve(self._path, pulse)
                except OSError as fault:
                    self._say(f"no status at {self._path}, tried again every {AGAIN_S:g} s: {_reason(fault)}")
            self._stop.wait(AGAIN_S)

    def _say(self, line: str) -> None:
        """Log a failure once, and count each."""
        self._counters.add("status_failed")
        log.log(logging.DEBUG if line == self._said else logging.WARNING, "%s", line)
        self._said = line

    def _serve(self, path: Path, pulse: Pulse) -> None:
        """Have the socket, and answer until the stop. Raise OSError; HeldError if another monitor has it."""
        private_file.make_folder(path.parent)
        lock = private_file.locked(path.with_name(f"{path.name}.lock"))
        try:
            with closing(listener(path)) as server:
                server.setblocking(False)
                self._waking.wake_by(server.fileno())
                self._said = ""
                while not self._stop.is_set():
                    pulse.beat()
                    self._waking.sleep(REST_S)
                    with suppress(BlockingIOError):  # nobody asks, or who did is gone
                        self._answer_next(server)
            with suppress(OSError):
                path.unlink()
        finally:
            os.close(lock)

    def _answer_next(self, server: socket.socket) -> None:
        client, name = server.accept()
        with closing(client):
            if not (who := peer_of(client)).is_trusted:
                log.warning("no status for user %d: it is for root alone", who.uid)
                return
            client.settimeout(SEND_S)
            with suppress(OSError):  # the client's own fault
                client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, ANSWER_BYTES * 2)
                is_order = isinstance(name, bytes) and name.startswith(ORDER)
                client.sendall(line_of(self._order(_order_of(client)) if is_order else self._status()))
        self._stop.wait(APART_S)

    def _status(self) -> dict[str, Any]:
        with self._changed:
            if self._given is not None and time.monotonic() - self._made_s < FRESH_S:
                return self._given
            self._wanted = True
        self._wake()
        with self._changed:
            self._changed.wait_for(lambda: not self._wanted, LOOP_S)
            if self._wanted:
                reason = f"its loop has not answered for {LOOP_S:g} s"
            elif self._given is None:
                reason = "its status cannot be made, see its log"
            else:
                return self._given
        return {"version": __version__, "pid": os.getpid(), "state": "hangs", "blind": [reason]}


def _order_of(client: socket.socket) -> dict[str, Any]:
    """Return the order that a client sends; an empty one if it makes no sense. Raise OSError if it does not come."""
    end_s = time.monotonic() + ORDER_S
    read = bytearray()
    while len(read) <= ORDER_BYTES and not read.endswith(b"\n"):
        client.settimeout(max(end_s - time.monotonic(), 0.001))
        some = client.recv(ORDER_BYTES)
        if not some:
            break
        read += some
    client.settimeout(SEND_S)
    try:
        said = json.loads(read[:ORDER_BYTES])
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def listener(path: Path) -> socket.socket:
    """Return a socket that listens at this path, for this user alone; a socket that is there already is replaced."""
    with suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise private_file.NotOursError(17, f"{path} is there and is no socket")
        path.unlink()
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        os.fchmod(server.fileno(), MODE)  # before it has a name: nobody else can connect at any moment
        server.bind(str(path))
        os.chmod(path, MODE)
        server.listen(BACKLOG)
    except BaseException:
        server.close()
        raise
    return server


def line_of(status: dict[str, Any]) -> bytes:
    """Return a status as a line of JSON that is short enough; `open` has fewer episodes then."""
    line = json.dumps(status).encode() + b"\n"
    while len(line) > ANSWER_BYTES and status.get("open"):
        status = status | {"open": status["open"][: len(status["open"]) // 2]}
        line = json.dumps(status).encode() + b"\n"
    return line


def _reason(fault: OSError) -> str:
    if isinstance(fault, private_file.HeldError):
        return f"another monitor has it, process {fault.pid}; `status: {{socket: …}}` is a place of its own"
    return str(fault.strerror or described(fault))
