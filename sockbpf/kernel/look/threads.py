# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the threads of a process do, by /proc/PID/task/*/stat and wchan (fs/proc/array.c, fs/proc/base.c)."""

from __future__ import annotations

import os
from contextlib import suppress
from itertools import islice

from sockbpf.kernel.look.proc_file import text_of
from sockbpf.record.closeup import Thread

MOST = 32
"""So many threads of a process are looked at: with more, one that reads may be among the others."""


def threads_of(pid: int) -> tuple[Thread, ...]:
    """Return what each thread of the process does; none if it is gone, or has more than MOST."""
    folder = f"/proc/{pid}/task"
    with suppress(OSError), os.scandir(folder) as entries:
        names = [entry.name for entry in islice(entries, MOST + 1)]
        if len(names) <= MOST:
            return tuple(found for name in names if (found := _thread(f"{folder}/{name}")))
    return ()


def _thread(folder: str) -> Thread | None:
    with suppress(OSError, IndexError):  # it has ended
        state = text_of(f"{folder}/stat").rpartition(")")[2].split()[0]
        where = text_of(f"{folder}/wchan") if state in "SD" else ""
        return Thread(state, "" if where == "0" else where, folder)
    return None
