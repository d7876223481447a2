# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Who is answered when there are too many connections: all in turn, and none is closed that is about to ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from sockbpf.store.web.crowd import LOOK_S, MOST_IN_LINE, MOST_OTHERS, MOST_OURS, OURS, Crowd
from sockbpf.store.web.places import ALIKE, GRACE_S, LINE_GRACE_S, SETTLED_S, Standing

FILES = 100_000
"""Enough descriptors for all places."""


class Line:
    """A connection, which only knows what was done with it."""

    is_open, is_admitted = True, False

    def admit(self) -> None:
        self.is_admitted = True

    def drop(self) -> None:
        self.is_open = False


class Clock:
    """The time, and the calls that are due."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.calls: list[tuple[float, Callable[[], None]]] = []

    def __call__(self) -> float:
        return self.now_s

    def later(self, seconds: float, call: Callable[[], None]) -> None:
        self.calls.append((self.now_s + seconds, call))

    def go_on(self, seconds: float, *, in_steps: bool = True) -> None:
        """Let time go by, in steps as an event loop does that has nothing to do, or at once."""
        ends_s = self.now_s + seconds
        while self.now_s < ends_s:
            self.now_s = min(ends_s, self.now_s + LOOK_S) if in_steps else ends_s
            due = [each for each in self.calls if each[0] <= self.now_s]
            self.calls = [each for each in self.calls if each not in due]
            for _, call in due:
                call()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def crowd(clock: Clock) -> Iterator[Crowd]:
    with closing(Crowd(FILES, clock, clock.later)) as made:
        yield made


def entered(crowd: Crowd, peer: str, *, asks: bool = False) -> Line:
    line = Line()
    standing = crowd.enter(line, peer)
    assert standing
    if asks and standing is Standing.WAITING:
        crowd.ask(line)
    elif asks:
        crowd.place(line, Standing.BUSY)
    return line


def full(crowd: Crowd, peer: str | None, standing: Standing) -> list[Line]:
    """Take all places, each by another peer if none is given."""
    lines = [entered(crowd, peer or f"host {n}") for n in range(MOST_OURS if peer == OURS else MOST_OTHERS)]
    for line in lines:
        crowd.place(line, standing)
    return lines


@pytest.mark.parametrize("peer", [OURS, "192.0.2.7", None])
def test_who_comes_at_once_is_answered_in_turn(crowd: Crowd, clock: Clock, peer: str | None) -> None:
    """As with thousands of monitors, behind one address or each with its own, whose store has just started."""
    first = full(crowd, peer, Standing.MUTE)
    others = [entered(crowd, peer or f"late {n}", asks=True) for n in range(701)]
    clock.go_on(GRACE_S / 2)
    assert not any(line.is_admitted for line in others)
    for line in first:
        crowd.place(line, Standing.BUSY)
    clock.go_on(9)
    assert not any(line.is_admitted for line in others)
    for line in first[:307]:
        assert crowd.is_wanted(line)
        crowd.leave(line)
    assert [line.is_admitted for line in others] == [True] * 307 + [False] * 394
    assert all(line.is_open for line in (*first, *others))
    assert (crowd.shed, crowd.turned_away) == (0, 0)


@pytest.mark.parametrize("peer", [OURS, "192.0.2.7", None])
def test_who_asks_has_the_place_of_who_keeps_one_quietly(
    crowd: Crowd, clock: Clock, peer: str | None
) -> None:
    kept = full(crowd, peer, Standing.QUIET)
    clock.go_on(2 * SETTLED_S)
    made = [entered(crowd, peer or f"late {n}", asks=True) for n in range(7)]
    silent = entered(crowd, peer or "silent")
    clock.go_on(9)
    assert all(line.is_open and line.is_admitted for line in made)
    assert [line.is_open for line in kept[:8]] == [False] * 7 + [True]
    assert silent.is_open
    assert not silent.is_admitted


def test_an_answer_of_just_now_is_sent_first(crowd: Crowd, clock: Clock) -> None:
    kept = full(crowd, OURS, Standing.QUIET)
    line = entered(crowd, OURS, asks=True)
    assert kept[0].is_open
    clock.go_on(LOOK_S)
    assert not kept[0].is_open
    assert line.is_admitted


@pytest.mark.parametrize("peer", [OURS, "192.0.2.7", None])
def test_who_asks_nothing_for_a_while_goes_first(crowd: Crowd, clock: Clock, peer: str | None) -> None:
    kept = full(crowd, peer, Standing.QUIET)
    crowd.leave(kept.pop())
    mute = entered(crowd, peer or "mute")
    line = entered(crowd, peer or "late")
    clock.go_on(GRACE_S + 0.1)
    assert mute.is_open
    crowd.ask(line)
    assert not mute.is_open
    assert line.is_admitted
    assert kept[0].is_open


def test_what_the_store_is_late_is_nobodys_silence(crowd: Crowd, clock: Clock) -> None:
    first = full(crowd, OURS, Standing.MUTE)
    line = entered(crowd, OURS, asks=True)
    clock.go_on(9, in_steps=False)
    assert first[0].is_open
    clock.go_on(GRACE_S + 0.1)
    assert not first[0].is_open
    assert line.is_admitted


def test_who_has_many_loses_one_to_who_has_none(crowd: Crowd) -> None:
    made = full(crowd, "user 1000", Standing.MUTE)
    of_many = [entered(crowd, "user 1000", asks=True) for _ in range(3)]
    lines = [entered(crowd, f"host {n}", asks=True) for n in range(5)]
    assert all(line.is_admitted for line in lines)
    assert [line.is_open for line in made[:6]] == [False] * 5 + [True]
    assert not any(line.is_admitted for line in of_many)


def test_who_has_many_takes_no_place_of_others(crowd: Crowd, clock: Clock) -> None:
    quiet = [entered(crowd, f"host {n}") for n in range(MOST_OTHERS - ALIKE - 1)]
    for line in quiet:
        crowd.place(line, Standing.QUIET)
    mute = [entered(crowd, "user 1000") for _ in range(ALIKE + 1)]
    of_many = entered(crowd, "user 1000", asks=True)
    clock.go_on(GRACE_S + 0.1)
    assert of_many.is_admitted
    assert all(line.is_open for line in quiet)
    assert [line.is_open for line in mute] == [False] + [True] * ALIKE


def test_what_waits_for_its_answer_is_never_closed(crowd: Crowd, clock: Clock) -> None:
    lines = full(crowd, OURS, Standing.BUSY)
    made = [entered(crowd, OURS, asks=True) for _ in range(MOST_IN_LINE)]
    clock.go_on(9)
    assert crowd.enter(Line(), OURS) is None
    assert crowd.turned_away == 1
    assert all(line.is_open for line in (*lines, *made))


def test_who_is_silent_leaves_the_line_when_it_is_full(crowd: Crowd, clock: Clock) -> None:
    full(crowd, "192.0.2.7", Standing.BUSY)
    silent = [entered(crowd, "192.0.2.7") for _ in range(MOST_IN_LINE)]
    assert crowd.enter(Line(), "192.0.2.7") is None
    other = entered(crowd, "192.0.2.8")
    assert [line.is_open for line in silent[-2:]] == [True, False]
    clock.go_on(LINE_GRACE_S + 0.1)
    entered(crowd, "192.0.2.7")
    assert [line.is_open for line in silent[:2]] == [False, True]
    assert other.is_open


def test_peers_take_turns(crowd: Crowd) -> None:
    busy = full(crowd, None, Standing.BUSY)
    many = [entered(crowd, "192.0.2.7", asks=True) for _ in range(31)]
    few = [entered(crowd, f"192.0.2.{n}", asks=True) for n in (8, 9)]
    for line in busy[:4]:
        crowd.leave(line)
    assert [line.is_admitted for line in (*many[:3], *few)] == [True, True, False, True, True]
