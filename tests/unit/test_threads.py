# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Where a thread sleeps: real processes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

import pytest

from sockbpf.kernel.look.threads import threads_of, top_of_stack
from tests.live.waiting import until


@pytest.fixture
def sleeper() -> Iterator[int]:
    with subprocess.Popen(["sleep", "1000"]) as process:
        yield process.pid
        process.kill()


def where(pid: int) -> str:
    return "".join(thread.where for thread in threads_of(pid) if "nanosleep" in thread.where)


def test_a_sleeper_is_in_a_function_of_the_kernel(sleeper: int) -> None:
    assert until(lambda: where(sleeper), "asleep")


@pytest.mark.skipif(os.geteuid() != 0, reason="a stack is for root")
def test_the_top_of_its_stack_is_the_same_function(sleeper: int) -> None:
    """Where wchan is 0."""
    assert until(lambda: where(sleeper), "asleep") == top_of_stack(f"/proc/{sleeper}/task/{sleeper}")
    assert top_of_stack("/proc/4194305/task/4194305") == ""
