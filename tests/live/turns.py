# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Whose turn it is, of what is tried in part each day."""

from __future__ import annotations

import time
from collections.abc import Sequence

import pytest

DAY_S = 86_400


def today() -> int:
    """Return the number of this day, which is one more tomorrow."""
    return int(time.time() // DAY_S)


def whose_turn(names: Sequence[str], count: int) -> list[str]:
    """Return so many of these, others tomorrow, each as often as any other."""
    first = today() * count
    return [names[(first + place) % len(names)] for place in range(count)]


def skip_unless_its_turn(request: pytest.FixtureRequest, name: str, names: Sequence[str], count: int) -> None:
    """Skip a test unless it is among so many of these today; never with `--every-choice`."""
    if name not in whose_turn(names, count) and not request.config.getoption("--every-choice"):
        pytest.skip("another day")
