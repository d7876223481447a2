# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Only one monitor on a host: two would send every alert twice.

The lock is the kernel's: it is free as soon as its process ends, however that ends. Only root can write its folder.
"""

from __future__ import annotations

import logging
import os
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from sockbpf.errors import UnsupportedError
from sockbpf.process import private_file
from sockbpf.process.private_file import HeldError

if TYPE_CHECKING:
    from collections.abc import Iterator

log = logging.getLogger(__name__)

LOCK = Path("/run/sockbpf/monitor.lock")


@contextmanager
def only_one(lock: Path = LOCK) -> Iterator[None]:
    """Keep every other monitor of this host out. Raise UnsupportedError, with its process, when there is one."""
    held = _taken(lock)
    try:
        yield
    finally:
        if held is not None:
            os.close(held)


def _taken(lock: Path) -> int | None:
    try:
        private_file.make_folder(lock.parent)
        if unsafe := private_file.unsafe_folder(lock.parent):
            log.warning("others can write into %s: they could keep a monitor from starting", unsafe)
        return private_file.locked(lock)
    except HeldError as error:
        process = f"process {error.pid}" if error.pid else "its process is not known"
        raise UnsupportedError(
            f"another monitor watches this host, {process}. "
            "Remedy: stop it; or start this one with --beside, then both send every alert"
        ) from None
    except OSError as error:
        log.warning("cannot find out whether another monitor watches this host: %s: %s", lock, error.strerror)
        return None
