# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The table of tricks is true of the files: what it names is there, and nothing else plays the same tricks."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROWS = [
    line.split(" | ")
    for line in (ROOT / "docs/kernel-tricks.md").read_text().splitlines()
    if line.startswith("| **")
]
SHORTCUTS = {"bpf/shortcuts.h", "sockbpf/kernel/build/shortcuts.py"}


def in_code(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_trick_has_its_files_and_the_test_that_shows_it(row: list[str]) -> None:
    _, where, why, kernel, without, shown = row
    assert all((why, kernel, without))
    assert in_code(where)
    assert all((ROOT / name).is_file() for name in in_code(where))
    for name in in_code(shown) or [""]:
        file, _, function = name.partition("::")
        assert f"\ndef {function}(" in (ROOT / file).read_text()


TRACES = {
    "bpf_rdonly_cast|BTF_ID_": SHORTCUTS,
    "KERNEL_FUNCTION|bpf_pseudo_fd": SHORTCUTS,
    r"WITH_CASTS|#if.*WITH_DIRECT_VALUES": {*SHORTCUTS, "bpf/monitor.c"},
    r"\.bpf\.fn\.": {"bpf/hook.h"},
    r"\.syscall\b": {"sockbpf/kernel/attach/bpf.py"},
    r"dup2\(": {"sockbpf/kernel/build/clang.py"},
    r"\.(lookup|update|insert|delete|perf_submit)\(&": {"bpf/look.c", "bpf/monitor.c"},
}
"""What a trick looks like in the C and in what is said to the kernel, and the only files that may look so."""


@pytest.mark.parametrize("trace", TRACES)
def test_a_trick_is_played_in_its_files_only(trace: str) -> None:
    files = [*ROOT.glob("bpf/**/*.[ch]"), *ROOT.glob("sockbpf/**/*.py")]
    found = {str(path.relative_to(ROOT)) for path in files if re.search(trace, path.read_text())}
    assert found <= TRACES[trace]
    assert found
