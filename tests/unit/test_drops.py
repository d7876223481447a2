# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What sockets have dropped since: of a bounded number, which no user's crowd pushes out, and never their history."""

from __future__ import annotations

import random

import pytest

from sockbpf.judge.drops import MOST, MOST_OF_A_USER, Drops

NETNS = 7
EVIL, OTHER = 1000, 33
HISTORY = 1_000_000
FIRST = 10**6
"""The crowd's inodes begin here."""


def look(drops: Drops, counts: dict[int, tuple[int, int]], *, is_whole: bool = True) -> dict[int, int]:
    """Return how much the counts of these sockets, of a user each, have grown."""
    grown = {inode: drops.grown((NETNS, inode), uid, count) for inode, (uid, count) in counts.items()}
    drops.end_look(is_whole=is_whole)
    return {inode: by for inode, by in grown.items() if by}


def crowd(size: int, uid: int = EVIL) -> dict[int, tuple[int, int]]:
    return {FIRST * (1 + uid) + number: (uid, 0) for number in range(size)}


def test_drops_are_those_since_a_socket_was_seen_first() -> None:
    drops = Drops()
    assert look(drops, {1: (0, 100)}) == {}
    assert look(drops, {1: (0, 103), 3: (0, 5)}) == {1: 3}
    assert look(drops, {}) == {}
    assert look(drops, {1: (0, 104), 3: (0, 2)}) == {1: 1}, (
        "1 was empty meanwhile, 3 is another of that number"
    )


def test_where_all_are_shown_one_that_is_new_has_counted_from_0() -> None:
    drops = Drops(shows_all=True)
    assert look(drops, {1: (0, 100)}) == {}
    assert look(drops, {1: (0, 100), 2: (0, 5)}) == {2: 5}


def test_after_a_look_that_was_not_whole_one_that_is_new_may_be_old() -> None:
    drops = Drops(shows_all=True)
    look(drops, {1: (0, HISTORY)})
    look(drops, {}, is_whole=False)
    assert look(drops, {1: (0, HISTORY + 3), 2: (0, HISTORY)}) == {1: 3}
    assert look(drops, {1: (0, HISTORY + 3), 2: (0, HISTORY + 4), 3: (0, 5)}) == {2: 4, 3: 5}


@pytest.mark.parametrize("shows_all", [True, False])
@pytest.mark.parametrize("uid", [0, OTHER])
def test_a_crowd_pushes_out_nobody_and_its_end_is_no_news(uid: int, *, shows_all: bool) -> None:
    """Though it comes first in each look, and is of more users than fill the table."""
    drops = Drops(shows_all=shows_all)
    users = MOST // MOST_OF_A_USER + 1
    many = {
        place: each for user in range(users) for place, each in crowd(MOST_OF_A_USER + 1, EVIL + user).items()
    }
    look(drops, {1: (uid, HISTORY)})
    assert look(drops, many | {1: (uid, HISTORY + 2)}) == {1: 2}
    assert look(drops, many | {1: (uid, HISTORY + 5)}) == {1: 3}
    assert look(drops, {1: (uid, HISTORY + 10)}) == {1: 5}


@pytest.mark.parametrize("shows_all", [True, False])
def test_one_user_leaves_room_to_others(*, shows_all: bool) -> None:
    drops = Drops(shows_all=shows_all)
    many = crowd(MOST + 1)
    look(drops, many)
    look(drops, many | {1: (OTHER, HISTORY), 2: (0, HISTORY)})
    assert look(drops, many | {1: (OTHER, HISTORY + 2), 2: (0, HISTORY + 3)}) == {1: 2, 2: 3}


def test_a_crowd_hides_no_drops_of_another_users_new_listener() -> None:
    drops = Drops(shows_all=True)
    look(drops, crowd(MOST + 1))
    assert look(drops, crowd(MOST + 1) | {1: (OTHER, 5)}) == {1: 5}


def test_one_without_room_counts_nothing_once_there_is_room() -> None:
    drops = Drops(shows_all=True)
    look(drops, {})
    look(drops, crowd(MOST_OF_A_USER) | {1: (EVIL, HISTORY)})
    assert look(drops, {1: (EVIL, HISTORY + 5)}) == {}, "the crowd is known still"
    assert look(drops, {1: (EVIL, HISTORY + 6)}) == {}
    assert look(drops, {1: (EVIL, HISTORY + 9), 2: (EVIL, 6)}) == {1: 3, 2: 6}


def test_what_is_not_shown_any_more_gives_way_and_refusals_are_counted() -> None:
    drops = Drops()
    look(drops, crowd(MOST, 0))
    for inode in (1, 2):
        drops.grown((NETNS, inode), OTHER, HISTORY)
    assert drops.end_look() == 2
    look(drops, {1: (OTHER, HISTORY)})
    assert look(drops, {1: (OTHER, HISTORY + 1)}) == {1: 1}


@pytest.mark.parametrize("seed", range(5))
def test_no_history_is_ever_counted_and_the_table_is_bounded(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Listeners of three users come, drop, go unseen and end; told is what they dropped since, or less."""
    monkeypatch.setattr("sockbpf.judge.drops.MOST", 20)
    monkeypatch.setattr("sockbpf.judge.drops.MOST_OF_A_USER", 10)
    chance = random.Random(seed)
    drops = Drops(shows_all=True)
    counts = {inode: (chance.randrange(3), HISTORY) for inode in range(8)}
    told = dict.fromkeys(counts, 0)
    dropped = dict.fromkeys(counts, 0)
    for inode in range(8, 500):
        counts[inode] = chance.randrange(3), 0
        told[inode] = dropped[inode] = 0
        while len(counts) > chance.choice((5, 40)):
            del counts[chance.choice(list(counts))]
        for each, (uid, count) in counts.items():
            more = chance.randrange(3)
            counts[each] = uid, count + more
            dropped[each] += more
        is_whole = chance.random() < 0.8
        shown = {each: its for each, its in counts.items() if is_whole or chance.random() < 0.5}
        for each, by in look(drops, shown, is_whole=is_whole).items():
            told[each] += by
        assert len(drops._known) <= 20
    assert all(told[each] <= dropped[each] for each in told)
    assert sum(told.values()) > sum(dropped.values()) / 4
