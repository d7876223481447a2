"""Whose a socket is: from its inode number to the process that holds it, by /proc/*/fd as `ss -p` does."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path

SHARE = 10
"""A scan may take one part in this many of the time: on a host with very many descriptors some owners stay
unknown rather than that the monitor costs."""


class Owners:
    """Remembers where each socket inode was seen, and looks again when it is asked for another."""

    def __init__(self) -> None:
        self._seen: dict[int, str] = {}
        self._next_scan_s = 0.0

    def owner(self, inode: int) -> tuple[int, str]:
        """Return pid and comm of a process that holds the socket now; (0, "") where none is found."""
        if not inode:
            return 0, ""
        name = f"socket:[{inode}]"
        if self._holds(inode, name) or (self._scan() and self._holds(inode, name)):
            pid = int(self._seen[inode].split("/")[2])
            with suppress(OSError):
                return pid, Path(f"/proc/{pid}/comm").read_text(errors="replace").rstrip("\n")
        return 0, ""

    def _holds(self, inode: int, name: str) -> bool:
        try:
            return os.readlink(self._seen[inode]) == name
        except (KeyError, OSError):
            return False

    def _scan(self) -> bool:
        begun = time.monotonic()
        if begun < self._next_scan_s:
            return False
        seen: dict[int, str] = {}
        for process in os.listdir("/proc"):
            if process.isdigit():
                with suppress(OSError):  # the process is gone
                    folder = f"/proc/{process}/fd"
                    for descriptor in os.listdir(folder):
                        path = f"{folder}/{descriptor}"
                        with suppress(OSError):
                            target = os.readlink(path)
                            if target.startswith("socket:["):
                                seen.setdefault(int(target[8:-1]), path)
        self._seen = seen
        ended = time.monotonic()
        self._next_scan_s = ended + (ended - begun) * SHARE
        return True
