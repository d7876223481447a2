# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Where a test's thread runs, and that nothing else runs there meanwhile."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress


@contextmanager
def one_cpu() -> Iterator[None]:
    """Stay on one CPU, for which the kernel's timers of what is sent from there are set too."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


@contextmanager
def first_to_run() -> Iterator[None]:
    """Have no other process take the CPU: the monitor's would, as it is woken by the crossing."""
    with suppress(PermissionError):  # not everywhere is that a right of root
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    yield
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
