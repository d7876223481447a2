# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Items that are each due at an instant, earliest first."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

SWEPT_OUT_FROM = 64
"""A heap of fewer entries than this is not searched for entries that are out of date."""


class Waiting(Generic[T]):
    """A heap of (nanoseconds, item). `waits` says whether an entry is still valid; one that is not is skipped.

    So nobody needs to remove an entry. The heap holds at most about twice as many entries as are valid.
    """

    def __init__(self, waits: Callable[[T, int], bool]) -> None:
        self._waits = waits
        self._heap: list[tuple[int, int, T]] = []
        self._added = 0
        self._sweep_out_at = SWEPT_OUT_FROM

    def add(self, ns: int, item: T) -> None:
        self._added += 1  # the heap compares this where instants are equal: items cannot be compared
        heapq.heappush(self._heap, (ns, self._added, item))
        if len(self._heap) >= self._sweep_out_at:
            self._heap = [entry for entry in self._heap if self._waits(entry[2], entry[0])]
            heapq.heapify(self._heap)
            self._sweep_out_at = 2 * len(self._heap) + SWEPT_OUT_FROM

    def clear(self) -> None:
        """Remove all entries."""
        self._heap.clear()
        self._sweep_out_at = SWEPT_OUT_FROM

    def first_ns(self) -> int | None:
        """Return the earliest instant at which an item is due; None if there is no item."""
        while self._heap and not self._waits(self._heap[0][2], self._heap[0][0]):
            heapq.heappop(self._heap)
        return self._heap[0][0] if self._heap else None

    def take(self, until_ns: int) -> list[T]:
        """Remove and return the items that are due up to this instant, earliest first."""
        taken: list[T] = []
        while (first_ns := self.first_ns()) is not None and first_ns <= until_ns:
            taken.append(heapq.heappop(self._heap)[2])
        return taken

    def until(self, ns: int, most: int) -> list[T]:
        """Return items that are due up to this instant, so many at most, and leave them."""
        found: list[T] = []
        places = [0]  # of the heap, where what is due before an entry is above it
        while places and len(found) < most:
            place = places.pop()
            if place < len(self._heap) and self._heap[place][0] <= ns:
                due_ns, _, item = self._heap[place]
                if self._waits(item, due_ns):
                    found.append(item)
                places += (2 * place + 1, 2 * place + 2)
        return found

    def __len__(self) -> int:
        return len(self._heap)
