# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The episodes whose last try failed, and until when each of them waits."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING

from sockbpf.delivery.breaker import backoff_s

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Pauses:
    """For one thread at a time; times are monotonic seconds."""

    def __init__(self) -> None:
        self._later: list[tuple[float, int, str]] = []
        """A heap of (when, n of its first alert, episode)."""
        self.failures: dict[str, int] = {}
        """Episode -> how many of its tries failed in a row."""

    def begin(self, firsts: dict[str, int], now_s: float, first_s: float, max_s: float) -> None:
        """Have the episodes of one try that failed wait, all of them equally long: they may go together again.

        `firsts` has the n of the first alert of each.
        """
        for episode in firsts:
            self.failures[episode] = self.failures.get(episode, 0) + 1
        wait_s = backoff_s(max(self.failures[episode] for episode in firsts), first_s, max_s)
        for episode, n in firsts.items():
            heapq.heappush(self._later, (now_s + wait_s, n, episode))

    def over(self, now_s: float) -> Iterator[str]:
        """Remove the episodes that have waited, and yield them."""
        while self._later and self._later[0][0] <= now_s:
            yield heapq.heappop(self._later)[2]

    def first_s(self, waits: Callable[[str], bool]) -> float | None:
        """Return when the next of the episodes for which `waits` holds has waited; None if there is none."""
        while self._later and not waits(self._later[0][2]):
            heapq.heappop(self._later)
        return self._later[0][0] if self._later else None

    def end_all(self) -> None:
        """Have all of them waited, in the order of their first alerts."""
        self._later = [(0.0, n, episode) for _, n, episode in self._later]
        heapq.heapify(self._later)
