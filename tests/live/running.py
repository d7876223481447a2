# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Where a test's thread runs, and that nothing else runs there meanwhile."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.live.sockets import unsent
from tests.live.waiting import until

LAST, LAST_S = 20_000, 0.2
"""So little leaves in less than this time, seconds: for so long nothing else runs on the CPU."""


def stay_on_one_cpu(number: int = 0) -> None:
    """Keep this thread on a processor: what queues there what it sends, hooks and all, ends before it goes on."""
    here = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {here[number % len(here)]})


@contextmanager
def one_cpu() -> Iterator[None]:
    """Stay on one for a while: the kernel's timers of what is sent from there are set there too."""
    before = os.sched_getaffinity(0)
    stay_on_one_cpu()
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def first_to_run() -> Iterator[None]:
    """Have no other process take the CPU: the monitor's would, as it is woken by the crossing."""
    with suppress(PermissionError):  # not everywhere is that a right of root
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    try:
        yield
    finally:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))


def watch_the_last_leave(writer: socket.socket) -> None:
    """Wait until the device has all that was written on `one_cpu`; its last timers interrupt no other thread.

    A kernel may keep its init from being traced: one of 6.18 runs no BPF program where a timer interrupts a thread
    of process 1, and counts that nowhere. What drains there a look finds.
    """
    until(lambda: unsent(writer) <= LAST, "nearly all has left")
    end_s = time.monotonic() + LAST_S
    with first_to_run():
        while unsent(writer) and time.monotonic() < end_s:
            pass
    until(lambda: unsent(writer) == 0, "the queue drained")
