# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Asks the running monitor for its status, as another process: `sockbpf status` and check_sockbpf."""

from __future__ import annotations

import json
import socket
import time
from typing import TYPE_CHECKING, Any

from sockbpf.errors import UnsupportedError
from sockbpf.process.peer import peer_of

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
    asked = "the monitor"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            end_s = time.monotonic() + answer_s
            connection.settimeout(answer_s)
            _connect(connection, path, end_s)
            who = peer_of(connection)
            asked = f"the monitor, process {who.pid},"
            if not who.is_trusted:
                raise UnsupportedError(
                    f"{path} is answered by a process of user {who.uid}, which is no monitor of this host"
                )
            line = _read(connection, end_s)
    except TimeoutError:
        raise UnsupportedError(
            f"{asked} does not answer within {answer_s:g} s: it is stopped, or hangs. "
            "Remedy: see its log; `systemctl restart sockbpf`"
        ) from None
    except PermissionError:
        raise NotAllowedError(f"needs root, to connect to {path}. Remedy: sudo") from None
    except OSError as fault:
        raise UnsupportedError(f"no monitor answers at {path}: {fault.strerror or fault}. {START}") from None
    return _checked(line, path)


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
