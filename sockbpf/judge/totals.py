# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The figures of a host's sockets, out of those that hold something. Pure: no I/O."""

from __future__ import annotations

import heapq
from collections import Counter
from typing import TYPE_CHECKING

from sockbpf.judge.ranking import nearness
from sockbpf.record.event import Direction

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sockbpf.record.event import Protocol
    from sockbpf.record.socket_row import SocketRow

NEAREST = 5
"""So many sockets are named that are over or nearest to it."""


NEAR = 0.01
"""The part of its threshold that a queue must hold to be named."""


def sizes_of(rows: Iterable[SocketRow]) -> Counter[tuple[Protocol, Direction]]:
    """Return how much is in all queues of each kind."""
    sizes: Counter[tuple[Protocol, Direction]] = Counter()
    for row in rows:
        for direction, queue in row.queues.items():
            sizes[row.socket.protocol, direction] += queue.size
    return sizes


def how_near(row: SocketRow) -> float:
    """Return how near a socket is to being over, by the nearer of its queues; above 1 it is over."""
    return max(map(nearness, row.queues.values()), default=0.0)


def nearest_of(rows: Iterable[SocketRow]) -> list[SocketRow]:
    """Return those that are furthest over or nearest to it, worst first; none that is far from it."""
    return [row for row in heapq.nlargest(NEAREST, rows, key=how_near) if how_near(row) >= NEAR]


def fullest_of(rows: Iterable[SocketRow]) -> SocketRow | None:
    """Return the listener whose accept queue is fullest, of those on which somebody waits."""
    waiting = [row for row in rows if Direction.ACCEPT in row.queues and row.queues[Direction.ACCEPT].size]

    def share(row: SocketRow) -> float:
        queue = row.queues[Direction.ACCEPT]
        return queue.size / (queue.facts.limit + 1)  # so many and one more may wait

    return max(waiting, key=share, default=None)


def growth(
    before: Mapping[int, Mapping[str, int]], after: Mapping[int, Mapping[str, int]], seconds: float
) -> dict[str, tuple[int, float]]:
    """Return of each counter the sum over all network namespaces, and how much it grew a second.

    What a namespace that came meanwhile has counted is no growth: it may have been there before it had a name.
    """
    totals: Counter[str] = Counter()
    grown: Counter[str] = Counter()
    for netns, counts in after.items():
        for name, count in counts.items():
            totals[name] += count
            grown[name] += max(count - before.get(netns, counts).get(name, count), 0)
    return {name: (total, grown[name] / seconds) for name, total in totals.items()}
