# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The network namespaces of the host: finding them, and being in one for a while."""

from __future__ import annotations

import ctypes
import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CLONE_NEWNET = 0x40000000
NAMED = (Path("/run/netns"), Path("/run/docker/netns"))
"""Where ip-netns and Docker keep namespaces that no process need be in."""

_libc = ctypes.CDLL(None, use_errno=True)


def namespaces() -> dict[int, str]:
    """Return a path for each network namespace that a process is in or that has a name, by inode number."""
    found: dict[int, str] = {}
    for process in os.scandir("/proc"):
        if process.name.isdigit():
            _note(found, f"{process.path}/ns/net")
    for folder in NAMED:
        with suppress(OSError):
            for entry in os.scandir(folder):
                _note(found, entry.path)
    return found


def _note(found: dict[int, str], path: str) -> None:
    with suppress(OSError):  # the process or the name is gone
        found.setdefault(os.stat(path).st_ino, path)


@contextmanager
def inside(path: str) -> Iterator[int]:
    """Move the calling thread into a namespace and back; yield the namespace's inode number.

    Raise OSError when it is gone or entering is not allowed.
    """
    home = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            number = os.fstat(there).st_ino
            _enter(there)
        finally:
            os.close(there)  # nothing of ours keeps the namespace alive
        try:
            yield number
        finally:
            _enter(home)
    finally:
        os.close(home)


def _enter(descriptor: int) -> None:
    if _libc.setns(descriptor, CLONE_NEWNET):
        code = ctypes.get_errno()
        raise OSError(code, f"setns: {os.strerror(code)}")
