# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which hosts fell silent together: those whose last words came within a heartbeat or so. Pure.

A host that dies has told its last heartbeat within one interval before: of hosts that die at once the last words are
spread over an interval.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

APART, WITHIN = 0.5, 1.5
"""Parts of an interval: between two last words of a group, and between its first and its last."""


@dataclass(frozen=True, slots=True)
class Silent:
    """The hosts whose last word came in one second."""

    second: int
    """Unix time of its arrival."""
    beat_s: float
    """Seconds between two heartbeats, the longest of theirs."""
    count: int
    names: tuple[str, ...]
    """All of them if they are one or two, else two."""
    trusted: bool


@dataclass(slots=True, eq=False)
class Group:
    """Hosts that fell silent together, the first first; one host may be a group."""

    parts: list[Silent]

    @property
    def count(self) -> int:
        return sum(part.count for part in self.parts)

    @property
    def trusted(self) -> bool:
        return self.parts[0].trusted

    @property
    def names(self) -> list[str]:
        return list(chain.from_iterable(part.names for part in self.parts))


def fell_silent(found: Sequence[Silent]) -> list[Group]:
    """Return who fell silent together; each second is in one group, what is trusted and what is not in others."""
    groups: list[Group] = []
    for trusted in (True, False):
        its = sorted((each for each in found if each.trusted == trusted), key=lambda each: each.second)
        for run in _runs(its):
            groups += _short(run)
    return groups


def _runs(found: list[Silent]) -> Iterator[list[Silent]]:
    """Yield them cut where a second is too far from the one before."""
    run: list[Silent] = []
    for each in found:
        if run and each.second - run[-1].second > max(1.0, APART * max(each.beat_s, run[-1].beat_s)):
            yield run
            run = []
        run.append(each)
    if run:
        yield run


def _short(run: list[Silent]) -> Iterator[Group]:
    """Yield groups that do not last too long, cut from the latest on: what is new stays whole."""
    most_s = max(1.0, WITHIN * max(each.beat_s for each in run))
    seconds, end = [each.second for each in run], len(run)
    while end:
        begin = bisect_left(seconds, seconds[end - 1] - most_s, 0, end)
        yield Group(run[begin:end])
        end = begin
