# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Whose turn it is, of what is tried in part each day."""

from __future__ import annotations

import time
from collections.abc import Sequence

DAY_S = 86_400


def today() -> int:
    """Return the number of this day, which is one more tomorrow."""
    return int(time.time() // DAY_S)


def whose_turn(names: Sequence[str], count: int) -> list[str]:
    """Return so many of these, others tomorrow, each as often as any other."""
    first = today() * count
    return [names[(first + place) % len(names)] for place in range(count)]
