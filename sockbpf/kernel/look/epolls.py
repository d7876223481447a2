# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""For which events the epolls in which threads sleep watch a socket: /proc/PID/syscall and fdinfo, from Linux 4.13.

The first argument of each of the system calls that wait is the epoll. What it watches is in its fdinfo, a line each:
ep_show_fdinfo of fs/eventpoll.c, which holds the epoll meanwhile.
"""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING

from sockbpf.kernel.look.proc_file import start_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sockbpf.record.closeup import Thread

MOST_DESCRIPTORS = 1024
"""The epoll of a process that may have more is left alone: 1 us for each in which the process could not use it."""
MOST_BYTES = 256 * 1024
MOST_LINKS = 64
"""So many of what an epoll watches are looked at more closely: each may be an epoll too."""


def watched_for(threads: Iterable[Thread], inode: int) -> int | None:
    """Return for which events, EPOLL* of include/uapi/linux/eventpoll.h, this socket is watched; 0: it is not at all.

    None where that cannot be told: the kernel does not say, or this user may not ask; they watch too much; they
    wait for an io_uring, which may read the socket.
    """
    events, links = 0, 0
    with suppress(OSError, ValueError, IndexError):
        wanted = {each: None for thread in threads if thread.is_in_epoll for each in [_place(thread)]}
        for process, epoll in (places := list(wanted)):
            anonymous = os.stat(f"/proc/{process}/fd/{epoll}").st_ino
            for descriptor, mask, number in _watched(process, epoll):
                if number == inode:
                    events |= mask
                elif number == anonymous:
                    links += 1
                    kind = os.readlink(f"/proc/{process}/fd/{descriptor}")
                    if links > MOST_LINKS or "io_uring" in kind:
                        return None
                    if "eventpoll" in kind and (process, descriptor) not in wanted:
                        wanted[process, descriptor] = None
                        places.append((process, descriptor))
        return events if wanted else None
    return None


def _place(thread: Thread) -> tuple[str, int]:
    """Return the process of a thread, and the descriptor of the epoll in which it sleeps."""
    process = thread.path.split("/")[2]
    return process, int(start_of(f"{thread.path}/syscall").split()[1], 16)


def _watched(process: str, epoll: int) -> Iterator[tuple[int, int, int]]:
    """Yield of each file that an epoll watches descriptor, events and inode number. Raise OSError or ValueError."""
    may_have = start_of(f"/proc/{process}/status").partition(b"FDSize:")[2].split()[0]
    if int(may_have) > MOST_DESCRIPTORS:
        raise ValueError("it may watch too much")
    for line in _text(f"/proc/{process}/fdinfo/{epoll}").split(b"\n"):
        if line.startswith(b"tfd:"):
            words = line.split()
            number = words[-2].removeprefix(b"ino:")
            yield int(words[1]), int(words[3], 16), int(number, 16)


def _text(path: str) -> bytes:
    """Return what a file of several pages has. Raise OSError, or ValueError if that is too much."""
    read = b""
    with open(path, "rb", buffering=0) as file:
        while some := file.read(MOST_BYTES):
            read += some
            if len(read) > MOST_BYTES:
                raise ValueError("it watches too much")
    return read
