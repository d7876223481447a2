# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Whose overflows a namespace has counted, and how many of them are whose.

Pure. A listener counts what it drops, but stray segments with its overflows; the namespace counts overflows alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


@dataclass(frozen=True, slots=True)
class Suspect:
    """A listener that may have overflowed between two looks."""

    cookie: int
    drops: int | None
    """What it dropped meanwhile; None where the kernel does not count that."""
    was_full: bool
    """Whether it was full at one of the two looks."""


def overflows_by_listener(rise: int, suspects: Collection[Suspect]) -> tuple[dict[int, int | None], int]:
    """Return who overflowed how often (None: that is not known), and how many overflows are of nobody here.

    `rise` is by how much the namespace's count rose. If more was dropped than overflowed, the rest are stray segments
    of one or the other: then the count goes first to those that were full, then to those that dropped most.
    """
    found: dict[int, int | None] = {}
    counting = [(suspect, suspect.drops) for suspect in suspects if suspect.drops is not None]
    if counting or not suspects:
        counting.sort(key=lambda each: (each[0].was_full, each[1]), reverse=True)
        for suspect, drops in counting:
            if overflows := min(drops, rise):
                found[suspect.cookie] = overflows
                rise -= overflows
        return found, rise
    full = [suspect.cookie for suspect in suspects if suspect.was_full]
    if not full or not rise:
        return {}, rise
    return dict.fromkeys(full, rise if len(full) == 1 else None), 0
