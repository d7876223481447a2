# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What decides an episode: at which size it begins and ends, and how soon and how often it is an alert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sockbpf.record.event import Direction, Socket


@dataclass(frozen=True, slots=True)
class Levels:
    """The levels of one episode; sizes are bytes. Episodes share a record: each keeps a reference, not a copy."""

    threshold: int
    """A queue is over while it holds more than this."""
    clear: int
    """An episode ends at this size or less."""
    hold_ns: int
    """How long a queue must be over before there is an alert about it."""
    repeat_ns: int
    """The time from one alert about an episode to the next, while the episode goes on."""


LevelsOf = Callable[[Socket, Direction], Levels]
"""Returns the levels of an episode of this queue."""


def levels_by_direction(
    thresholds: dict[Direction, int], *, clear_ratio: float, hold_ns: int, repeat_ns: int
) -> dict[Direction, Levels]:
    """Return the levels of each direction, the same for every socket.

    This alone turns `clear_ratio` into bytes, rounded down, for the judge and for the kernel side: an episode that
    the one has ended must not be open for the other.
    """
    return {
        direction: Levels(threshold, int(threshold * clear_ratio), hold_ns, repeat_ns)
        for direction, threshold in thresholds.items()
    }


def same_for_all(by_direction: dict[Direction, Levels]) -> LevelsOf:
    """Return the function that gives every socket the levels of its queue's direction."""
    return lambda _socket, direction: by_direction[direction]
