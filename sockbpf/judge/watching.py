# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""For what a program that sleeps in an epoll watches a socket, in words; EPOLL* of include/uapi/linux/eventpoll.h."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from sockbpf.record.closeup import Thread

DATA = 0x1 | 0x40
"""EPOLLIN, EPOLLRDNORM: there is something to read, or a connection to accept."""
ONESHOT, EDGES = 1 << 30, 1 << 31
NAMES = {
    0x1: "IN", 0x2: "PRI", 0x4: "OUT", 0x40: "RDNORM", 0x100: "WRNORM", 0x2000: "RDHUP", 1 << 28: "EXCLUSIVE",
    ONESHOT: "ONESHOT", EDGES: "ET",
}  # fmt: skip
"""Those that a program asks for; the kernel adds ERR and HUP to all."""

LOCKS = ("futex", "mutex", "rwsem", "down_")
"""What is in the names of the kernel's functions in which a thread waits for a lock."""


def reads(events: int) -> bool:
    """Tell whether data that come are among the events."""
    return bool(events & DATA)


def waits_for_a_lock(thread: Thread) -> bool:
    """Tell whether a thread waits for a lock; one that waits for work does too."""
    return thread.state == "S" and any(lock in thread.where for lock in LOCKS)


def waits_for_events(threads: Collection[Thread]) -> bool:
    """Tell whether events of epolls alone wake these threads: those in none wait for a lock, as idle workers do."""
    in_epoll = [thread for thread in threads if thread.is_in_epoll]
    return bool(in_epoll) and all(waits_for_a_lock(thread) for thread in threads if thread not in in_epoll)


def names_of(events: int) -> str:
    """Return the events as evidence; `none` where the socket is not watched."""
    return "|".join(name for bit, name in NAMES.items() if events & bit) or ("none" if not events else "HUP")


def described(events: int) -> str:
    """Return what of it says why nothing is read, as the end of a sentence about an epoll; empty if nothing does."""
    if not events:
        return ", which does not watch this socket"
    if not reads(events):
        again = " until it asks again (EPOLLONESHOT)" if events & ONESHOT else ""
        return f", which watches this socket, but not for data{again}"
    return ", which tells of new data alone (EPOLLET)" if events & EDGES else ""
