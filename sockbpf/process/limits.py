# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How much of the system's resources the process may have, and whether that is enough to begin with."""

from __future__ import annotations

import os
import resource

from sockbpf.errors import UnsupportedError

FILES = 64
"""Open at once beside those for each CPU and each worker: programs and maps, the journal, a sweep, scrapes."""

WORKERS_FILES = 4
"""For each worker: its connection, a proxy's, and as many once more while settings are exchanged."""


def have_files(workers: int) -> None:
    """Raise the limit of open files as far as it goes; raise UnsupportedError if that is not enough.

    What is short of files in the middle of its work can do none of it.
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
