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
        return Thread(state, _where(folder) if state in "SD" else "")
    return None


def _where(folder: str) -> str:
    where = text_of(f"{folder}/wchan")
    return where if where != "0" else top_of_stack(folder)


def top_of_stack(folder: str) -> str:
    """Return the function in which a thread sleeps by its stack, for CAP_SYS_ADMIN; empty if that is not known.

    From Linux 5.10 on, with stacks that are unwound by ORC, until 5.16 wchan is 0: kernel commit 54354c6a9f73.
    """
    with suppress(OSError):
        top = text_of(f"{folder}/stack").partition("\n")[0]  # [<0>] ep_poll+0x2f1/0x360
        return top.rpartition("] ")[2].partition("+")[0]
    return ""
