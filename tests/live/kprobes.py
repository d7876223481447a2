# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The kernel's own lists of kprobes, and lines in them as BCC writes them before 4.17."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sockbpf.kernel.attach.legacy import TRACING

FUNCTION = "tcp_ack"
LIST = Path("/sys/kernel/debug/kprobes/list")


@dataclass(frozen=True)
class Lines:
    """Names of lines that stood there before: of a process that is dead, and others."""

    stale: str
    others: tuple[str, ...]


def events() -> Path | None:
    """Return the file that lines are written to, None where there are no kprobes."""
    return next((path for folder in TRACING if (path := folder / "kprobe_events").exists()), None)


def listed() -> str:
    path = events()
    return path.read_text() if path else ""


def enabled() -> list[str]:
    """Return the kprobes that fire, anybody's, as the kernel lists them."""
    return (
        [line for line in LIST.read_text().splitlines() if "[DISABLED]" not in line] if LIST.exists() else []
    )


@contextmanager
def lines_before() -> Iterator[Lines | None]:
    """Write such lines; None where there are no kprobes."""
    path = events()
    if path is None:
        yield None
        return
    with subprocess.Popen(["true"]) as dead:
        pass
    stale, living = (f"p_{FUNCTION}_bcc_{pid}" for pid in (dead.pid, os.getpid()))
    names = (stale, living, "of_nobody")
    for name in names:
        _write(path, f"p:kprobes/{name} {FUNCTION}")
    try:
        yield Lines(stale, names[1:])
    finally:
        for name in names:
            if f"/{name} " in listed():
                _write(path, f"-:kprobes/{name}")


def _write(path: Path, line: str) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND)
    os.write(descriptor, f"{line}\n".encode())
    os.close(descriptor)
