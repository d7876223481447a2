# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Waiting for a condition, with a deadline that only shows a hang."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest

DEADLINE_S = 60


def until(condition: Callable[[], Any], what: str | Callable[[], str], deadline_s: float = DEADLINE_S) -> Any:
    """Return the first true value of the condition; fail with `what` when it never comes."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            pytest.fail(f"not within {deadline_s} s: {what() if callable(what) else what}")
        time.sleep(0.002)


def wait_until(moment_s: float) -> None:
    until(lambda: time.monotonic() > moment_s, "the moment")
