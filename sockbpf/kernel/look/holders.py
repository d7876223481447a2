# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which processes hold these sockets: one walk through /proc, for whoever asks once about many."""

from __future__ import annotations

import os
from contextlib import suppress
from sys import intern
from typing import TYPE_CHECKING

from sockbpf.kernel.look.proc_file import text_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from collections.abc import Set as AbstractSet

LINK = "socket:["
MANAGER = "systemd"
"""The name of the manager of services, the system's and each user's."""


def holders_of(inodes: AbstractSet[int] | None, first: Iterable[str] = ()) -> dict[int, int]:
    """Return for each of these sockets, or for all if None, a process that holds it, by inode number.

    The walk begins with the processes `first` and ends once all sockets are found. A process that this user may not
    look into is passed over.
    """
    found: dict[int, int] = {}
    missing = set(inodes or ())
    missing.discard(0)  # no file holds it
    if inodes is not None and not missing:
        return found
    of_managers: dict[int, int] = {}
    for name in _processes(first):
        held = [inode for inode, _ in sockets_of(name) if inodes is None or inode in missing]
        if held and is_manager(name):
            of_managers |= dict.fromkeys(held, int(name))
            continue
        for inode in held:
            found.setdefault(inode, int(name))
            missing.discard(inode)
        if inodes is not None and not missing:
            break
    return of_managers | found


def _processes(first: Iterable[str]) -> Iterator[str]:
    known = dict.fromkeys(first)
    yield from known
    yield from (name for name in os.listdir("/proc") if name.isdigit() and name not in known)


def sockets_of(process: str) -> Iterator[tuple[int, str]]:
    """Yield the inode number and the descriptor of each socket that the process holds, as far as it lets."""
    with suppress(OSError):  # the process is gone, or another user's
        folder = os.open(f"/proc/{process}/fd", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for descriptor in os.listdir(folder):
                with suppress(OSError):
                    link = os.readlink(descriptor, dir_fd=folder)
                    if link.startswith(LINK):
                        yield int(link[len(LINK) : -1]), descriptor
        finally:
            os.close(folder)


def is_manager(process: str) -> bool:
    """Tell whether a process holds sockets for others: systemd keeps those that it hands to services."""
    return comm_of(int(process)) == MANAGER


def comm_of(pid: int) -> str:
    """Return the name of a process, as the kernel keeps it; empty if the process is gone."""
    with suppress(OSError):
        return intern(text_of(f"/proc/{pid}/comm").removesuffix("\n"))
    return ""
