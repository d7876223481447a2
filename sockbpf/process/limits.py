# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the process may hold: files, raised as far as it goes and checked before the start; free memory."""

from __future__ import annotations

import os
import resource

from sockbpf.errors import UnsupportedError

FILES = 64
"""Open at once, besides those of each CPU and each worker: programs and maps, the journal, a sweep, scrapes."""

WORKERS_FILES = 4
"""Open at once for each worker: its connection, a proxy's, and two more while new settings replace the old."""


M_ARENA_MAX = -8
"""mallopt(3)."""


def share_memory() -> None:
    """Have all threads take memory from one heap, where the C library is glibc.

    Else each thread has one of its own and keeps what it has freed: 3 MB more after a few hundred alerts. One thread
    at a time runs Python, so none waits long. To be called before there is a second thread.
    """
    import ctypes

    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(M_ARENA_MAX, 1)


def have_files(workers: int) -> None:
    """Raise the limit of open files as far as it goes; raise UnsupportedError if that is not enough.

    A process that runs out of files in the middle of its work can neither sweep nor deliver.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    wanted = FILES + (os.cpu_count() or 1) + WORKERS_FILES * workers
    if hard != resource.RLIM_INFINITY and hard < wanted:
        raise UnsupportedError(
            f"no more than {hard} files may be open, {wanted} are wanted. "
            f"Remedy: ulimit -n {wanted}, LimitNOFILE= of the service"
        )
