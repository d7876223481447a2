# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The clocks are the kernel's own; where the process cannot know that, it does not start."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from sockbpf.errors import UnsupportedError
from sockbpf.process import clock


def test_outside_of_time_namespaces_they_are_pythons() -> None:
    before_ns = time.monotonic_ns()
    assert before_ns <= clock.monotonic_ns() <= time.monotonic_ns()
    assert clock.boottime_s() >= clock.monotonic_s() - 0.001


def test_offsets_are_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    offsets = tmp_path / "offsets"
    offsets.write_text("monotonic      100003         7\nboottime          -12 999999999\n")
    monkeypatch.setattr(clock, "OFFSETS", offsets)
    monkeypatch.setattr(clock, "NAMESPACES", ("/proc/self/exe", "/proc/self/exe"))
    assert clock.offset_ns("monotonic") == 100_003 * 10**9 + 7
    assert clock.offset_ns("boottime") == -12 * 10**9 + 999_999_999
    monkeypatch.setattr(clock, "NAMESPACES", ("/proc/self/exe", "/proc/self/cwd"))
    with pytest.raises(UnsupportedError, match="time namespace"):
        clock.offset_ns("monotonic")


def test_a_kernel_without_time_namespaces_has_no_offset(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clock, "OFFSETS", tmp_path / "none")
    assert clock.offset_ns("monotonic") == 0


def test_nothing_is_read_before_it_is_wanted() -> None:
    """What needs no clock of the kernel works in any namespace."""
    code = "import sys, sockbpf.cli; sys.exit('sockbpf.process.clock' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
