# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""When a destination may be tried: the pause after failures, the circuit breaker, the rate."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ASKED_MAX_S = 3600.0
"""The longest pause that a receiver can ask for: none must silence us for a day."""

ABSENT_MAX_S = 0.75
"""The longest pause while nobody listens at an address of this host: a receiver that starts waits for a second."""

BEHIND_S = 5.0
"""A destination is behind its rate if by that it takes longer than this to send all that is owed."""

TRIPS_AFTER = 3
"""Failures in a row, of one alert or of several, after which a destination is taken for dead."""


def backoff_s(
    failures: int, first_s: float, max_s: float, uniform: Callable[[float, float], float] = random.uniform
) -> float:
    """Return the seconds to wait after that many failures in a row (from 1), from `first_s` to `max_s`.

    The ceiling doubles with each failure and the wait is anywhere under it, so that monitors that lost the
    same receiver together do not come back together (AWS blog, "Exponential Backoff and Jitter").
    """
    # 2.0**1024 is an OverflowError; 2**64 seconds are past any maximum.
    return min(max_s, uniform(first_s, min(max_s, first_s * 2.0 ** min(failures, 64))))


@dataclass(slots=True)
class Breaker:
    """Closed while the destination answers; open after `TRIPS_AFTER` failures in a row.

    While it is open one request at a time is let through, a probe, and after each failed one there is a longer
    pause. A receiver that asks us to stay away opens it at once. All times are monotonic seconds.
    """

    retry_first_s: float
    retry_max_s: float
    failures: int = 0
    """In a row; requests that were under way when it opened count as one with the failure that opened it."""

    _until_s: float = 0.0
    _asked_until_s: float = 0.0
    _probing: bool = False

    @property
    def is_open(self) -> bool:
        return self.failures >= TRIPS_AFTER or self._until_s > 0

    def due_s(self) -> float | None:
        """Return when the next request may go, 0 for at once, None while a probe is under way."""
        if self._probing:
            return None
        return self._until_s if self.is_open else 0.0

    def began(self) -> bool:
        """Take note of a request that goes out now; return whether it is a probe."""
        self._probing = self.is_open
        return self._probing

    def worked(self) -> None:
        """Take note of an answer that took the alert, or refused it for good: the destination is alive."""
        self.failures = 0
        self._until_s = self._asked_until_s = 0.0
        self._probing = False

    def failed(self, now_s: float, asked_s: float, *, probe: bool, absent: bool = False) -> None:
        """Take note of a failure; `asked_s` is how long the receiver wants to be left alone, 0 if it did not say.

        `absent` says that nobody listens there at all: trying again soon costs little.
        """
        was_open = self.is_open
        if asked_s:
            self._asked_until_s = max(self._asked_until_s, now_s + min(asked_s, ASKED_MAX_S))
            self._until_s = max(self._until_s, self._asked_until_s)
        if probe:
            self._probing = False
        elif was_open:
            return  # it was under way when the breaker opened
        self.failures += 1
        if self.failures >= TRIPS_AFTER:
            max_s = min(self.retry_max_s, ABSENT_MAX_S) if absent else self.retry_max_s
            first_s = min(self.retry_first_s, max_s)
            pause_s = backoff_s(self.failures - TRIPS_AFTER + 1, first_s, max_s)
            self._until_s = max(now_s + pause_s, self._asked_until_s)

    def try_now(self) -> None:
        """Let the next request go at once, unless the receiver has asked to be left alone."""
        self._until_s = min(self._until_s, max(0.001, self._asked_until_s))


@dataclass(slots=True)
class Bucket:
    """A token bucket: `rate` requests a second on average, `burst` at once; a rate of 0 is no limit."""

    rate: float
    burst: int
    _tokens: float = field(init=False)
    _at_s: float = 0.0

    def __post_init__(self) -> None:
        self._tokens = float(self.burst)

    def due_s(self, now_s: float) -> float:
        """Return when the next request may go, at most `now_s` for at once."""
        if not self.rate:
            return now_s
        self._fill(now_s)
        return now_s if self._tokens >= 1 else now_s + (1 - self._tokens) / self.rate

    def _fill(self, now_s: float) -> None:
        self._tokens = min(float(self.burst), self._tokens + (now_s - self._at_s) * self.rate)
        self._at_s = now_s

    def is_behind(self, owed: int, now_s: float) -> bool:
        """Whether by the rate it takes longer than `BEHIND_S` until so many requests may have gone."""
        self._fill(now_s)
        return self.rate > 0 and owed - self._tokens > self.rate * BEHIND_S

    def allowed(self, most: int, now_s: float) -> int:
        """Return how many alerts may go at once, of so many; at least one, which must be due."""
        if not self.rate:
            return most
        self._fill(now_s)
        return max(1, min(most, int(self._tokens)))

    def take(self, number: int = 1) -> None:
        """Take note of alerts that go out now."""
        if self.rate:
            self._tokens -= number
