# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The monitor's clocks: the same that the kernel's hooks read, whatever time namespace the monitor is in.

CLOCK_MONOTONIC, from which the hooks' instants come, stops while the host is suspended: `hold` and the duration of an
episode do not count that time. CLOCK_BOOTTIME goes on: the age of an alert is counted by it. Neither jumps when the
date is corrected.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from sockbpf.errors import UnsupportedError

NAMESPACES = ("/proc/self/ns/time", "/proc/self/ns/time_for_children")
"""The offsets in `OFFSETS` are those of the second one."""

OFFSETS = Path("/proc/self/timens_offsets")


def offset_ns(name: str) -> int:
    """Return how far a clock of this process, `monotonic` or `boottime`, is ahead of the kernel's own.

    Raise UnsupportedError where that cannot be known.
    """
    try:
        lines = OFFSETS.read_text().splitlines()
        own, childrens = map(os.readlink, NAMESPACES)
    except OSError:  # before Linux 5.6 there are no time namespaces
        return 0
    if own != childrens:
        raise UnsupportedError(
            "this process is in one time namespace and its children would be in another: the kernel does not tell "
            "how far this process's clock is from its own. Remedy: start sockbpf by `unshare --time`, or without"
        )
    return next((_ns(seconds, ns) for clock, seconds, ns in map(str.split, lines) if clock == name), 0)


def _ns(seconds: str, ns: str) -> int:
    return int(seconds) * 10**9 + int(ns)


_MONOTONIC_AHEAD_NS = offset_ns("monotonic")
_BOOTTIME_AHEAD_NS = offset_ns("boottime")


def monotonic_ns() -> int:
    """Return CLOCK_MONOTONIC as the hooks read it, nanoseconds."""
    return time.monotonic_ns() - _MONOTONIC_AHEAD_NS


def monotonic_s() -> float:
    """Return the same in seconds."""
    return monotonic_ns() / 1e9


def boot_id() -> str:
    """Return the id of this boot of the host."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def boottime_s() -> float:
    """Return CLOCK_BOOTTIME, seconds since the host was booted, the time it was suspended included."""
    return (time.clock_gettime_ns(time.CLOCK_BOOTTIME) - _BOOTTIME_AHEAD_NS) / 1e9
