# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The arguments of a process, by /proc/PID/cmdline, which it can change."""

from __future__ import annotations

from contextlib import suppress

from sockbpf.kernel.look.proc_file import start_of

MOST_BYTES = 4096


def arguments_of(pid: int) -> tuple[str, ...]:
    """Return the arguments of a process, the first ones if they are long; none if it is gone."""
    with suppress(OSError):
        return arguments_in(start_of(f"/proc/{pid}/cmdline", MOST_BYTES))
    return ()


def arguments_in(raw: bytes) -> tuple[str, ...]:
    """Return the arguments; for one that is not there as a whole `…`, since half a secret may not look like one."""
    parts = raw.rstrip(b"\0").split(b"\0") if raw.strip(b"\0") else []
    if len(raw) >= MOST_BYTES and not raw.endswith(b"\0"):
        parts[-1] = "…".encode()
    return tuple(part.decode("utf-8", "replace") for part in parts)
