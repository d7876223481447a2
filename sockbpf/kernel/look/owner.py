# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Whose a socket is: from its inode number to the process that holds it, by /proc/*/fd as `ss -p` does."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from sockbpf.kernel.look.holders import comm_of, is_manager, sockets_of
from sockbpf.process.clock import monotonic_ns

if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Set as AbstractSet

SHARE = 10
"""A scan may take one part in this many of the time: on a host with very many descriptors some owners stay
unknown rather than that the monitor costs."""

RECENT = 16
"""So many processes that owned what was asked for are looked through first: most new sockets are theirs too."""

MOST = 100_000
"""Sockets that are remembered."""


def open_inodes() -> set[int]:
    """Return the inode numbers of this process's sockets."""
    found = set()
    for entry in os.listdir("/proc/self/fd"):
        with suppress(OSError, ValueError):
            kind, _, number = os.readlink(f"/proc/self/fd/{entry}").partition(":")
            if kind == "socket":
                found.add(int(number.strip("[]")))
    return found


class Owners:
    """Remembers where each socket inode was seen, and looks again when it is asked for another."""

    def __init__(self) -> None:
        self._seen: dict[int, str] = {}
        """The inode's descriptor, as a path."""
        self._managers: set[str] = set()
        """Those processes that hold sockets for others."""
        self._recent: dict[str, None] = {}
        """Processes, the latest last."""
        self._next_scan_s = 0.0
        self._whole_ns = -1
        """When the last scan began that went through all processes, CLOCK_MONOTONIC."""

    def owner(self, inode: int) -> tuple[int, str]:
        """Return pid and comm of a process that holds the socket now; (0, "") where none is found.

        A manager of services is named only while no other process holds the socket.
        """
        if not inode:
            return 0, ""
        name = f"socket:[{inode}]"
        if not self._holds(inode, name) or self._seen[inode].split("/")[2] in self._managers:
            self._scan({inode})
        return self.known(inode)

    def known(self, inode: int) -> tuple[int, str]:
        """Return pid and comm of a process that holds the socket now, as far as that is known without a search."""
        if self._holds(inode, f"socket:[{inode}]"):
            process = self._seen[inode].split("/")[2]
            self._recent.pop(process, None)
            self._recent[process] = None
            if len(self._recent) > RECENT:
                del self._recent[next(iter(self._recent))]
            if comm := comm_of(int(process)):
                return int(process), comm
        return 0, ""

    def seek(self, inodes: AbstractSet[int]) -> None:
        """Look for these sockets at once: asked for one by one, each would wait for the rest after the last scan."""
        unknown = {inode for inode in inodes if not self._holds(inode, f"socket:[{inode}]")}
        if unknown:
            self._scan(unknown)

    def may_be_held(self, inode: int, since_ns: int) -> bool:
        """Tell whether a process may hold the socket, which was there at `since_ns`, CLOCK_MONOTONIC.

        False only after all processes were looked through since then: one such scan answers for all sockets.
        """
        if not inode:
            return False
        name = f"socket:[{inode}]"
        if self._holds(inode, name):
            return True
        if inode not in self._seen and self._whole_ns >= since_ns:
            return False
        return not self._scan({inode}) or self._holds(inode, name)

    def look_through_all(self) -> None:
        """Look through all processes at once, whatever that takes: for whoever asks about many sockets, once."""
        self._next_scan_s = 0.0
        self._scan({0})  # no process holds it

    def _holds(self, inode: int, name: str) -> bool:
        try:
            return os.readlink(self._seen[inode]) == name
        except (KeyError, OSError):
            return False

    def _scan(self, wanted: AbstractSet[int]) -> bool:
        """Look through the processes until all of these are found; return whether there was time for it."""
        begun, begun_ns = time.monotonic(), monotonic_ns()
        if begun < self._next_scan_s:
            return False
        seen: dict[int, str] = {}
        of_managers: dict[int, str] = {}
        managers: set[str] = set()
        for process in self._processes():
            held = {inode: f"/proc/{process}/fd/{descriptor}" for inode, descriptor in sockets_of(process)}
            if held and is_manager(process):
                of_managers |= held
                managers.add(process)
            else:
                for inode, path in held.items():
                    seen.setdefault(inode, path)
            if seen.keys() >= wanted:
                break
        else:
            self._whole_ns = begun_ns
            seen = of_managers | seen
            self._managers.clear()
        self._managers |= managers
        if seen.keys() >= wanted and len(self._seen) < MOST:
            self._seen |= seen
        else:
            self._seen = seen  # without those that are gone
        ended = time.monotonic()
        self._next_scan_s = ended + (ended - begun) * SHARE
        return True

    def _processes(self) -> Iterator[str]:
        recent = [*reversed(self._recent)]
        yield from recent
        yield from (name for name in os.listdir("/proc") if name.isdigit() and name not in recent)
