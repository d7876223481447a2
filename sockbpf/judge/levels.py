# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What decides an episode: at which size or fill it begins and ends, and how soon and how often it is an alert."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sockbpf.record.event import Direction, Socket
from sockbpf.record.facts import Condition, Facts, Fill, Severity
from sockbpf.record.rule import NO_RULE, Applied


def severity_of(applied: Applied, condition: Condition, otherwise: Severity) -> Severity:
    """Return the severity of an alert by the rule that applies; `otherwise` where the rule does not set it."""
    for name, severity in applied.severities:
        if name == condition.value:
            return Severity(severity)
    return Severity(applied.severity or otherwise)


@dataclass(frozen=True, slots=True)
class Levels:
    """The levels of one episode. Episodes share a record: each keeps a reference, not a copy."""

    threshold: int
    """A queue is over while it holds more than this: bytes, or percent of its buffer."""
    clear: int
    """An episode ends at this or less."""
    hold_ns: int
    """How long a queue must be over before there is an alert about it."""
    repeat_ns: int
    """The time from one alert about an episode to the next, while the episode goes on."""
    of_buffer: bool = False
    """Whether `threshold` and `clear` are percent of the buffer, which the memory in use is compared with."""
    applied: Applied = NO_RULE
    """What of the rule that applies goes with the alerts."""

    @property
    def condition(self) -> Condition:
        """What these levels look at."""
        return Condition.FILL if self.of_buffer else Condition.SIZE

    def is_over(self, size: int, facts: Facts) -> bool:
        """Tell whether a queue of this size, in bytes, is over. An empty one never is: the kernel frees late."""
        return (
            facts.is_filled_beyond(self.threshold) and size > 0 if self.of_buffer else size > self.threshold
        )

    def is_back(self, size: int, facts: Facts) -> bool:
        """Tell whether an episode ends at this size."""
        return size == 0 or not facts.is_filled_beyond(self.clear) if self.of_buffer else size <= self.clear

    def in_bytes(self, facts: Facts) -> int:
        """Return the threshold of a queue with this buffer, bytes."""
        return facts.limit * self.threshold // 100 if self.of_buffer else self.threshold


LevelsOf = Callable[[Socket, Direction], Levels]
"""Returns the levels of an episode of this queue."""


def levels_by_direction(
    thresholds: dict[Direction, int | Fill], *, clear_ratio: float, hold_ns: int, repeat_ns: int
) -> dict[Direction, Levels]:
    """Return the levels of each direction, the same for every socket.

    This alone turns `clear_ratio` into bytes or percent, rounded down, for the judge and for the kernel side: an
    episode that the one has ended must not be open for the other.
    """

    def levels(threshold: int | Fill) -> Levels:
        of_buffer = isinstance(threshold, Fill)
        amount = threshold.percent if isinstance(threshold, Fill) else threshold
        return Levels(amount, int(amount * clear_ratio), hold_ns, repeat_ns, of_buffer)

    return {direction: levels(threshold) for direction, threshold in thresholds.items()}


def same_for_all(by_direction: dict[Direction, Levels]) -> LevelsOf:
    """Return the function that gives every socket the levels of its queue's direction."""
    return lambda _socket, direction: by_direction[direction]
