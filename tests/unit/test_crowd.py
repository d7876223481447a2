# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which connection is closed when there are too many: who keeps one quietly before who is just making one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing

import pytest

from sockbpf.store.web.crowd import GRACE_S, MOST_OTHERS, MOST_OURS, OURS, Crowd, Standing

FILES = 100_000
"""Enough descriptors for all places."""


class Line:
    """A connection, which only knows whether it was closed."""

    is_open = True

    def drop(self) -> None:
        self.is_open = False


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def crowd(clock: Clock) -> Iterator[Crowd]:
    with closing(Crowd(FILES, clock)) as made:
        yield made


def entered(crowd: Crowd, peer: str) -> Line:
    line = Line()
    assert crowd.enter(line, peer)
    return line


def full(crowd: Crowd, peer: str) -> list[Line]:
    """Take all places of this peer by connections on which something was asked before."""
    lines = [entered(crowd, peer) for _ in range(MOST_OURS if peer == OURS else MOST_OTHERS)]
    for line in lines:
        crowd.place(line, Standing.QUIET)
    return lines


@pytest.mark.parametrize("peer", [OURS, "192.0.2.7"])
def test_who_is_just_connecting_loses_nothing_to_the_next_one(crowd: Crowd, peer: str) -> None:
    """As with thousands of monitors behind one address, each of which keeps its connection from beat to beat."""
    kept = full(crowd, peer)
    made = [entered(crowd, peer) for _ in range(7)]
    assert all(line.is_open for line in made)
    assert [line.is_open for line in kept[:8]] == [False] * 7 + [True]


@pytest.mark.parametrize("peer", [OURS, "192.0.2.7"])
def test_who_asks_nothing_for_a_while_goes_first(crowd: Crowd, clock: Clock, peer: str) -> None:
    kept = full(crowd, peer)
    mute = entered(crowd, peer)
    clock.now_s += GRACE_S + 0.1
    entered(crowd, peer)
    assert not mute.is_open
    assert [line.is_open for line in kept[:2]] == [False, True]


def test_who_opens_nothing_but_mute_ones_loses_the_oldest(crowd: Crowd) -> None:
    made = [entered(crowd, "user 1000") for _ in range(MOST_OTHERS + 3)]
    assert [line.is_open for line in made[:4]] == [False] * 3 + [True]


def test_what_waits_for_its_answer_is_never_closed(crowd: Crowd) -> None:
    lines = full(crowd, OURS)
    for line in lines:
        crowd.place(line, Standing.BUSY)
    assert not crowd.enter(Line(), OURS)
    assert all(line.is_open for line in lines)
