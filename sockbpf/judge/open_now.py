# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The open episodes of one instant: how many, and the worst of them as notices. Pure: the clock is an argument."""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING

from sockbpf.judge.episodes import Episode, notice_of
from sockbpf.record.alert import ONGOING
from sockbpf.record.facts import Condition, Severity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sockbpf.record.alert import Notice

Rank = tuple[bool, bool, bool, float, int]


@dataclass(frozen=True, slots=True)
class OpenQueue:
    """One open episode as it stands; no alert is made of its notice."""

    notice: Notice
    held: bool
    """Whether the queue has not been over for long enough for an alert."""


@dataclass(frozen=True, slots=True)
class OpenNow:
    """How many episodes are open, and the worst of them, the worst first."""

    over: int
    """Those with an alert that are not stalled: over a threshold, accept queues, rates."""
    stalled: int
    held: int
    """Those without an alert so far."""
    oldest_ns: int | None
    """When the oldest of those with an alert began; None if there is none."""
    worst: tuple[OpenQueue, ...]


def open_now(episodes: Iterable[Episode], notices: Iterable[Notice], now_ns: int, most: int) -> OpenNow:
    """Sum up these open episodes and those of the notices, all of which had an alert; show at most so many."""
    over = stalled = held = 0
    oldest_ns: int | None = None
    ranked: list[tuple[Rank, Episode | Notice]] = []
    both: Iterator[Episode | Notice] = chain(episodes, notices)
    for each in both:
        rank = _rank(each)
        ranked.append((rank, each))
        if not rank[0]:
            held += 1
            continue
        if each.condition is Condition.STALLED:
            stalled += 1
        else:
            over += 1
        oldest_ns = each.since_ns if oldest_ns is None else min(oldest_ns, each.since_ns)
    worst = heapq.nlargest(most, ranked, key=lambda pair: pair[0])
    return OpenNow(over, stalled, held, oldest_ns, tuple(_shown(each, now_ns) for _, each in worst))


def _rank(each: Episode | Notice) -> Rank:
    """Return what is greater the worse it is: told, critical, stalled, further over, open for longer."""
    if isinstance(each, Episode):
        is_told, severity = not each.held, each.told_severity
    else:
        is_told, severity = True, each.severity
    amount = each.facts.charged if each.condition is Condition.FILL else each.size
    return (
        is_told,
        severity is Severity.CRITICAL,
        each.condition is Condition.STALLED,
        amount / max(each.threshold, 1),
        -each.since_ns,
    )


def _shown(each: Episode | Notice, now_ns: int) -> OpenQueue:
    if isinstance(each, Episode):
        return OpenQueue(notice_of(each, ONGOING, now_ns, each.size, each.peak), held=each.held)
    return OpenQueue(each, held=False)
