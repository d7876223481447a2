# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the journal's keeper knows of its file, and what the file does not say yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sockbpf.delivery.owed import Owed


class JournalState(Enum):
    """Of the journal."""

    OPENING = "opening"
    FOUND = "found"
    """It is open; nobody has fetched yet what an earlier monitor owed."""
    IN_USE = "in use"
    FAILED = "failed"


@dataclass(slots=True)
class Change:
    """What the file does not say yet; if `whole`, what it is to hold instead of what it says."""

    made: dict[int, Owed] = field(default_factory=dict)
    settled: set[int] = field(default_factory=set)
    whole: bool = False

    def __bool__(self) -> bool:
        return bool(self.made or self.settled or self.whole)


@dataclass(frozen=True, slots=True)
class LeftOwed:
    """What an earlier monitor owed, with its last `seq` and `n`."""

    owed: list[Owed]
    last_seq: int
    last_n: int


NOTHING = LeftOwed([], 0, 0)
