# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Asks the running monitor for its status, as another process, or gives it an order: `sockbpf status`, `silence`."""

from __future__ import annotations

import json
import os
import socket
import time
from typing import TYPE_CHECKING, Any

from sockbpf.errors import UnsupportedError
from sockbpf.process.peer import ORDER, peer_of

if TYPE_CHECKING:
    from pathlib import Path

ANSWER_S = 3.0
"""How long an answer may take; the monitor itself waits for its loop for a second."""

AGAIN_S = 0.02
"""The interval between two tries to connect while too many others ask."""

MOST_BYTES = 2**20
"""The longest answer that is read."""

START = "Remedy: start one, `systemctl start sockbpf`; or --socket PATH, if its settings have another one"


class NotAllowedError(UnsupportedError):
    """The user may not ask: whether there is a monitor is not known."""


def ask(path: Path, answer_s: float = ANSWER_S) -> dict[str, Any]:
    """Return the status of the monitor whose socket this is. Raise UnsupportedError, with the remedy."""
    return _checked(_answer(path, answer_s, b""), path)


def order(path: Path, what: dict[str, Any], answer_s: float = ANSWER_S) -> dict[str, Any]:
    """Return the answer of the monitor whose socket this is to an order. Raise UnsupportedError, with the remedy."""
    try:
        answer = json.loads(_answer(path, answer_s, json.dumps(what).encode() + b"\n"))
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or not answer.keys() & {"silences", "faults"}:
        raise UnsupportedError(
            f"the monitor at {path} takes no orders: it is of an earlier version. Remedy: restart it"
        )
    return answer


def _answer(path: Path, answer_s: float, said: bytes) -> bytes:
    """Return what is answered to an order; without one to a question for the status."""
    asked = "the monitor"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            end_s = time.monotonic() + answer_s
            connection.settimeout(answer_s)
            if said:
                connection.bind(ORDER + os.urandom(8).hex().encode())
            _connect(connection, path, end_s)
            who = peer_of(connection)
            asked = f"the monitor, process {who.pid},"
            if not who.is_trusted:
                raise UnsupportedError(
                    f"{path} is answered by a process of user {who.uid}, which is no monitor of this host"
                )
            if said:
                connection.sendall(said)
            return _read(connection, end_s)
    except TimeoutError:
        raise UnsupportedError(
            f"{asked} does not answer within {answer_s:g} s: it is stopped, or hangs. "
            "Remedy: see its log; `systemctl restart sockbpf`"
        ) from None
    except PermissionError:
        raise NotAllowedError(f"needs root, to connect to {path}. Remedy: sudo") from None
    except OSError as fault:
        raise UnsupportedError(f"no monitor answers at {path}: {fault.strerror or fault}. {START}") from None


def _connect(connection: socket.socket, path: Path, end_s: float) -> None:
    """Connect; raise TimeoutError if so many others ask that there is no room until then."""
    while True:
        try:
            connection.connect(str(path))
        except BlockingIOError:
            if time.monotonic() > end_s:
                raise TimeoutError from None
            time.sleep(AGAIN_S)
        else:
            return


def _read(connection: socket.socket, end_s: float) -> bytes:
    """Read to the end of the stream; raise TimeoutError if that takes too long in all."""
    read = bytearray()
    while len(read) <= MOST_BYTES:
        connection.settimeout(max(end_s - time.monotonic(), 0.001))
        some = connection.recv(65536)
        if not some:
            break
        read += some
    return bytes(read)


def _checked(line: bytes, path: Path) -> dict[str, Any]:
    try:
        status = json.loads(line)
    except ValueError:
        status = None
    if not isinstance(status, dict) or not isinstance(status.get("state"), str):
        raise UnsupportedError(
            f"what answers at {path} gives no status, or only a part of one. Remedy: ask again; see its log"
        )
    return status
