# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Of very many sockets that hold something the worst, before a row is made of each. Pure: no I/O."""

from __future__ import annotations

from heapq import nlargest
from typing import TYPE_CHECKING

from sockbpf.record.moment import Rest

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sockbpf.judge.levels import Levels
    from sockbpf.kernel.look.glance import Glance
    from sockbpf.kernel.look.packed import Handed
    from sockbpf.kernel.look.row import Row
    from sockbpf.record.event import Protocol

    Part = tuple[int, Protocol, Row]
    """The network namespace, the protocol, the socket."""
    LevelsOfPart = Callable[[Part], tuple[Levels, Levels]]
    """Returns the levels to send and to receive."""

OVER = 1e9
"""A score above this is one of a queue that is over: no queue is so many times as full as its buffer is large."""


def worst(
    seen: Glance, levels_of: LevelsOfPart, most: int, keep: Callable[[Row], bool]
) -> tuple[list[Part], Rest]:
    """Return at most so many sockets, the worst, besides those to `keep`; and what is said of the others."""
    scores, inodes, kept = [], [], set()
    for number, (netns, protocol, handed, place) in enumerate(_places(seen)):
        row = handed.row(place)  # for a moment: ten thousand of them are ten megabytes
        scores.append(score(row, *levels_of((netns, protocol, row))))
        inodes.append(row.inode)
        if keep(row):
            kept.add(number)
    kept |= set(nlargest(most, range(len(scores)), scores.__getitem__))
    others = [number for number in range(len(scores)) if number not in kept]
    rest = Rest(
        len(others),
        sum(scores[number] > OVER for number in others),
        frozenset(inodes[number] for number in others) - {0},
    )
    chosen = (part for number, part in enumerate(_places(seen)) if number in kept)
    return [(netns, protocol, handed.row(place)) for netns, protocol, handed, place in chosen], rest


def _places(seen: Glance) -> Iterator[tuple[int, Protocol, Handed, int]]:
    return (
        (netns, protocol, handed, place) for netns, protocol, handed in seen.handed for place in handed.full
    )


def score(row: Row, send: Levels, recv: Levels) -> float:
    """Return how bad the worse queue of a socket is: how far it is over, else what part of its buffer is in use."""
    detail = row.detail
    sent = recved = 0.0
    if row.send:
        sent = _score(row.send, detail.snd_charged if detail else 0, detail.sndbuf if detail else 0, send)
    if row.recv:
        size = max(row.recv - row.unsure, 0)
        recved = _score(size, detail.rcv_charged if detail else 0, detail.rcvbuf if detail else 0, recv)
    return max(sent, recved)


def _score(size: int, charged: int, limit: int, levels: Levels) -> float:
    filled = charged / limit if limit else 0.0
    held = 100 * filled if levels.of_buffer else size
    if held > levels.threshold and not levels.applied.ignores:
        return OVER + held / max(levels.threshold, 1)
    return filled
