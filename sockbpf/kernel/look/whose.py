# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Whose a socket is beyond its process: the path of its cgroup, the names of its network namespace."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from pathlib import Path
from sys import intern
from typing import TYPE_CHECKING

from sockbpf.kernel.look.cgroup_handle import handles_work, path_by_handle
from sockbpf.kernel.look.netns import NAMED
from sockbpf.kernel.look.proc_file import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

MOUNTS = Path("/proc/self/mounts")
MOST = 16_384
"""So many paths are remembered."""

MOST_OF_PROC = 1 << 17
"""/proc/PID/cgroup has a dozen lines, each with a path of 4 KiB at most."""

SHARE = 10
"""A walk through all cgroups may take one part in this many of the time."""


def cgroup_root() -> Path | None:
    """Return where the cgroups are mounted whose ids sockets have (cgroup2); None where they are not."""
    with suppress(OSError):
        for line in MOUNTS.read_text().splitlines():
            _, place, kind, *_ = line.split()
            if kind == "cgroup2":
                return Path(place.encode().decode("unicode_escape"))
    return None


class Cgroups:
    """The paths of cgroups by id, which is the inode number of the folder."""

    def __init__(self, root: Path | None) -> None:
        """`root` is where they are mounted; None: no path is known."""
        self._root = root
        self._by_handle = root is not None and handles_work(str(root))
        self._paths: dict[int, str] = {}
        self._next_walk_s = 0.0

    def path(self, number: int) -> str | None:
        """Return the path of a cgroup, which begins with `/`; None if it is not known."""
        found = self._found(number)
        return None if found is None else shown_name(found)

    def _found(self, number: int) -> str | None:
        if self._root is None:
            return None
        if self._by_handle:
            return self._opened(number)
        if (known := self._paths.get(number)) is not None and self._is(known, number):
            return known
        begun_s = time.monotonic()
        if begun_s < self._next_walk_s:
            return None
        self._paths = dict(_folders(str(self._root)))
        ended_s = time.monotonic()
        self._next_walk_s = ended_s + (ended_s - begun_s) * SHARE
        return self._paths.get(number)

    def _opened(self, number: int) -> str | None:
        """Return the path, also of a cgroup that is gone: where ids are handles, no other gets it again."""
        if number not in self._paths:
            path = path_by_handle(str(self._root), number)
            if path is None:
                return None
            if len(self._paths) >= MOST:
                self._paths.clear()
            self._paths[number] = path
        return self._paths[number]

    def processes(self, number: int) -> list[str]:
        """Return the numbers of the processes in a cgroup, as texts; none if it is not known, or gone."""
        path = self._found(number)
        with suppress(OSError):
            return Path(f"{self._root}{path}/cgroup.procs").read_text().split() if path else []
        return []

    def _is(self, path: str, number: int) -> bool:
        with suppress(OSError):
            return os.stat(f"{self._root}{path}").st_ino == number
        return False


def own_or_process(cgroups: Cgroups, number: int, of_process: str) -> str:
    """Return the path of a socket's own cgroup, by its id; where that says nothing, of its process's; else empty.

    With version 1 the sockets are at the root of cgroup2.
    """
    own = cgroups.path(number) if number else None
    return own if own and own != "/" else of_process or own or ""


def _folders(root: str) -> Iterator[tuple[int, str]]:
    """Yield the inode number and the path of each folder, from the root on."""
    waiting = [""]
    while waiting:
        path = waiting.pop()
        with suppress(OSError):  # it is gone
            yield os.stat(root + path).st_ino, path or "/"
            with os.scandir(root + path) as entries:
                waiting += [
                    f"{path}/{entry.name}" for entry in entries if entry.is_dir(follow_symlinks=False)
                ]


def cgroup_of_process(pid: int) -> str:
    """Return the path of a process's cgroup; empty if it is not known."""
    with suppress(OSError):
        return intern(cgroup_in(text_of(f"/proc/{pid}/cgroup", MOST_OF_PROC)))
    return ""


HIERARCHIES = ("", "name=systemd", "pids", "memory", "devices", "cpu,cpuacct", "cpu")
"""In this order, by the text between the colons: cgroup2, of version 1 systemd's own, those of containers."""


def cgroup_in(text: str) -> str:
    """Return the path of the cgroup by what /proc/PID/cgroup says, of the first hierarchy where it is not the root.

    With version 1 the process may be at the root of cgroup2, which nobody uses then.
    """
    found: dict[str, str] = {}
    for line in text.split("\n"):  # a name may have other characters that break a line
        _, is_there, rest = line.partition(":")
        hierarchy, _, path = rest.partition(":")
        if is_there and path.startswith("/"):
            found.setdefault(hierarchy, path.removesuffix(" (deleted)"))
    paths = [found[each] for each in HIERARCHIES if each in found]
    return next((path for path in paths if path != "/"), next(iter(paths), ""))


def shown_name(name: str) -> str:
    """Return the name of a file as text that every destination takes: bytes that are no UTF-8 become U+FFFD."""
    return os.fsencode(name).decode("utf-8", "replace")


class Accounts:
    """The names of this host's users, by /etc/passwd alone; read again when the file changes."""

    def __init__(self, file: Path = Path("/etc/passwd")) -> None:
        self._file = file
        self._read_as: tuple[int, int] | None = None
        self._names: dict[int, str] = {}

    def name(self, uid: int) -> str:
        """Return the name of a user, or the number where the file has none."""
        with suppress(OSError):
            found = os.stat(self._file)
            if (found.st_mtime_ns, found.st_ino) != self._read_as:
                self._names = dict(_accounts(self._file.read_text(errors="replace")))
                self._read_as = (found.st_mtime_ns, found.st_ino)
        return self._names.get(uid, str(uid))


def _accounts(text: str) -> Iterator[tuple[int, str]]:
    """Yield number and name of each account; of several with one number the first counts, as in the C library."""
    for line in reversed(text.splitlines()):
        name, _, number, *_ = (*line.split(":"), "", "", "")
        if name and number.isascii() and number.isdigit():
            yield int(number), name


def named_namespaces() -> Mapping[str, int]:
    """Return the inode numbers of the network namespaces that have a name."""
    found: dict[str, int] = {}
    for folder in NAMED:
        with suppress(OSError):
            for entry in os.scandir(folder):
                with suppress(OSError):
                    found.setdefault(shown_name(entry.name), os.stat(entry.path).st_ino)
    return found
