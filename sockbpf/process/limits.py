# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The limit of open files: raised as far as it goes, and checked before the start."""

from __future__ import annotations

import os
import resource

from sockbpf.errors import UnsupportedError

FILES = 64
"""Open at once, besides those of each CPU and each worker: programs and maps, the journal, a sweep, scrapes."""

WORKERS_FILES = 4
"""Open at once for each worker: its connection, a proxy's, and two more while new settings replace the old."""


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
