# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The arguments of a process, by /proc/PID/cmdline, which it can change."""

from __future__ import annotations

import os
from contextlib import suppress

MOST_BYTES = 4096


def arguments_of(pid: int) -> tuple[str, ...]:
    """Return the arguments of a process, the first ones if they are long; none if it is gone."""
    with suppress(OSError):
        descriptor = os.open(f"/proc/{pid}/cmdline", os.O_RDONLY | os.O_CLOEXEC)
        try:
            return arguments_in(os.read(descriptor, MOST_BYTES))
        finally:
            os.close(descriptor)
    return ()


def arguments_in(raw: bytes) -> tuple[str, ...]:
    """Return the arguments; for one that is not there as a whole `…`, since half a secret may not look like one."""
    parts = raw.rstrip(b"\0").split(b"\0") if raw.strip(b"\0") else []
    if len(raw) >= MOST_BYTES and not raw.endswith(b"\0"):
        parts[-1] = "…".encode()
    return tuple(part.decode("utf-8", "replace") for part in parts)
