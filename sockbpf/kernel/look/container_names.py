# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The names of containers by their ids: from a file, or from the socket of Docker or Podman."""

from __future__ import annotations

import json
import os
import re
import socket
import stat
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_BYTES = 4 << 20
MOST_CHARACTERS = 128
"""The longest name that is taken; of a longer one its beginning."""

PATIENCE_S = 3.0
"""So long a whole answer may take."""

REQUEST = b"GET /containers/json HTTP/1.0\r\nHost: localhost\r\nAccept: application/json\r\n\r\n"
"""Docker's API without a version, which Podman has too; by HTTP/1.0 the answer ends with the connection."""

ANSWERED = re.compile(rb"HTTP/1\.[01] 200 ")
ID = re.compile(r"[0-9a-f]{12,64}")
ID_DIGITS = 12


def read_names(path: Path) -> dict[str, str]:
    """Return name by the first 12 digits of the id. Raise OSError or ValueError, which say what is wrong."""
    if stat.S_ISSOCK(os.stat(path).st_mode):
        return dict(_of_docker(_answer(path)))
    return dict(_of_lines(_text(path)))


def _text(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    with os.fdopen(descriptor, "rb") as file:
        raw = file.read(MOST_BYTES + 1) or b""
    if len(raw) > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES} bytes")
    return raw.decode("utf-8", "replace")


def _answer(path: Path) -> bytes:
    """Return the body that the daemon at the socket answers with."""
    end_s = time.monotonic() + PATIENCE_S
    parts: list[bytes] = []
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE_S)
        connection.connect(os.fspath(path))
        connection.sendall(REQUEST)
        while True:
            connection.settimeout(max(end_s - time.monotonic(), 0.001))
            part = connection.recv(1 << 16)
            if not part:
                break
            parts.append(part)
            if sum(map(len, parts)) > MOST_BYTES:
                raise ValueError(f"its answer has more than {MOST_BYTES} bytes")
    head, _, body = b"".join(parts).partition(b"\r\n\r\n")
    if not ANSWERED.match(head):
        raise ValueError("it does not answer as Docker or Podman does")
    return body


def _of_docker(body: bytes) -> Iterator[tuple[str, str]]:
    try:
        listed = json.loads(body)
    except (ValueError, RecursionError):
        raise ValueError("its answer is no JSON") from None
    for each in listed if isinstance(listed, list) else ():
        if isinstance(each, dict) and isinstance(names := each.get("Names"), list) and names:
            yield from _pair(str(each.get("Id", "")), str(names[0]).lstrip("/"))


def _of_lines(text: str) -> Iterator[tuple[str, str]]:
    for line in text.split("\n"):
        id_, _, name = line.strip().partition(" ")
        yield from _pair(id_, name.strip())


def _pair(id_: str, name: str) -> Iterator[tuple[str, str]]:
    if ID.fullmatch(id_) and name:
        yield id_[:ID_DIGITS], name[:MOST_CHARACTERS]
