# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""When a queue is over, when it is back, and when an episode of it is told: what one episode goes by."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sockbpf.record.event import Direction, Socket


@dataclass(frozen=True, slots=True)
class Levels:
    """Sizes are bytes. Episodes share a record: each keeps a reference to it, not a copy."""

    threshold: int
    """A queue is over while it holds more than this."""
    clear: int
    """An episode ends at this size or less."""
    hold_ns: int
    """How long a queue must be over before it is an alert."""
    repeat_ns: int
    """From one alert of an episode to the next while it goes on."""


LevelsOf = Callable[[Socket, Direction], Levels]
"""Returns what an episode of this queue goes by."""


def same_for_all(
    thresholds: dict[Direction, int], *, clear_ratio: float, hold_ns: int, repeat_ns: int
) -> LevelsOf:
    """Return what gives every socket the same levels; an episode ends at `clear_ratio` of its threshold."""
    by_direction = {
        direction: Levels(threshold, int(threshold * clear_ratio), hold_ns, repeat_ns)
        for direction, threshold in thresholds.items()
    }
    return lambda _socket, direction: by_direction[direction]
