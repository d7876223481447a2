# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Counts by key, and the key with the highest count; each question and each change takes constant time."""

from __future__ import annotations

from typing import Generic, TypeVar

T = TypeVar("T")


class Most(Generic[T]):
    """A count for each key, and the key with the highest; of several with the same count the first to reach it."""

    def __init__(self) -> None:
        self._counts: dict[T, int] = {}
        self._keys: dict[int, dict[T, None]] = {}
        """Count -> the keys that have it."""
        self._highest = 0

    def add(self, key: T) -> None:
        """Count one more."""
        count = self._counts.get(key, 0)
        self._move(key, count, count + 1)
        self._highest = max(self._highest, count + 1)

    def remove(self, key: T) -> None:
        """Count one less. Raise KeyError where there is none."""
        count = self._counts[key]
        self._move(key, count, count - 1)
        if self._highest not in self._keys:
            self._highest -= 1

    def _move(self, key: T, count: int, to: int) -> None:
        if count:
            del self._keys[count][key]
            if not self._keys[count]:
                del self._keys[count]
        if to:
            self._counts[key] = to
            self._keys.setdefault(to, {})[key] = None
        else:
            del self._counts[key]

    def first(self) -> T | None:
        """Return the key with the highest count; None if nothing is counted."""
        return next(iter(self._keys[self._highest])) if self._highest else None
