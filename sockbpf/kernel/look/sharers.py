# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which other processes hold a socket too, because it was inherited: workers that a server has forked."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING

from sockbpf.kernel.look.proc_file import start_of

if TYPE_CHECKING:
    from collections.abc import Iterator

MOST_RELATIVES = 64
"""So many of a process's relatives are asked."""
MOST_DESCRIPTORS = 4096
"""Among so many descriptors of the process the socket's is looked for."""
INIT = 1
"""The parent of services that have nothing in common."""


def sharers_of(pid: int, inode: int) -> list[int]:
    """Return the parent, children and siblings of a process that hold the socket by the same number of a descriptor.

    That is how it is inherited; who was sent it, or has moved it since, is not found.
    """
    link = f"socket:[{inode}]"
    numbers = [number for number in _descriptors(pid) if _link(pid, number) == link]
    relatives = islice(_relatives(pid), MOST_RELATIVES)
    return [each for each in relatives if any(_link(each, number) == link for number in numbers)]


def _descriptors(pid: int) -> list[str]:
    with suppress(OSError), os.scandir(f"/proc/{pid}/fd") as entries:
        return [entry.name for entry in islice(entries, MOST_DESCRIPTORS)]
    return []


def _link(pid: int, number: str) -> str:
    with suppress(OSError):
        return os.readlink(f"/proc/{pid}/fd/{number}")
    return ""


def _relatives(pid: int) -> Iterator[int]:
    yield from _children(pid)
    parent = _parent(pid)
    if parent > INIT:
        yield parent
        yield from (child for child in _children(parent) if child != pid)


def _parent(pid: int) -> int:
    """Return the number of the parent; 0 if the process is gone. /proc/PID/stat: fs/proc/array.c, do_task_stat."""
    with suppress(OSError, ValueError, IndexError):
        return int(start_of(f"/proc/{pid}/stat").rpartition(b")")[2].split()[1])
    return 0


def _children(pid: int) -> Iterator[int]:
    """Yield the children of a process, where the kernel lists them: CONFIG_PROC_CHILDREN."""
    with suppress(OSError), os.scandir(f"/proc/{pid}/task") as threads:
        for thread in islice(threads, MOST_RELATIVES):
            with suppress(OSError, ValueError):
                children = start_of(f"{thread.path}/children")
                yield from map(int, children.rpartition(b" ")[0].split())
