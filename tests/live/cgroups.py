# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Control groups that a test makes, and removes with those above them that were not there before."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")
OF_PODMAN = "libpod_parent"
"""Which podman makes in each hierarchy where no systemd manages its groups, and leaves there."""

ENDING_S = 5


@contextmanager
def cgroup_made(group: Path) -> Iterator[None]:
    """Make one, with those above it; raise OSError where none can be made."""
    missing = [each for each in (group, *group.parents) if not each.exists()]
    try:
        for each in reversed(missing):
            each.mkdir(exist_ok=True)
        yield
    finally:
        for each in missing:
            with suppress(OSError):  # another has made one in it, or one is still ending
                each.rmdir()


def removed(group: Path) -> bool:
    """Remove a group with all that are in it; return whether that was possible."""
    with suppress(OSError):  # a process has not ended yet
        for sub in sorted(filter(Path.is_dir, group.rglob("*")), key=lambda path: -len(path.parts)):
            sub.rmdir()
        group.rmdir()
    return not group.exists()


def remove_podmans() -> None:
    """Remove what podman has left, where nothing is in it: its processes may still be ending."""
    groups = (ROOT / OF_PODMAN, *ROOT.glob(f"*/{OF_PODMAN}"))
    end_s = time.monotonic() + ENDING_S
    while {removed(group) for group in groups} != {True} and time.monotonic() < end_s:
        time.sleep(0.05)
