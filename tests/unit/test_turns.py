# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Turns: nobody waits for more than one of each other's, whatever they have waiting."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sockbpf.delivery.turns import Kind, Turns


def taken(turns: Turns) -> list[str]:
    found = []
    while (episode := turns.take()) is not None:
        found.append(episode)
    return found


def test_one_account_gives_its_episodes_in_their_order() -> None:
    turns = Turns()
    for number in range(101):
        turns.add(f"e{number}", 0, "tcp 443", Kind.NEWS)
    assert taken(turns) == [f"e{number}" for number in range(101)]
    assert not turns


def test_another_account_waits_for_one_of_ten_thousand() -> None:
    turns = Turns()
    for number in range(10_007):
        turns.add(f"noise{number}", 1009, f"tcp {number}", Kind.NEWS)
    turns.add("real", 0, "tcp 443", Kind.NEWS)
    assert [turns.take(), turns.take()] == ["noise0", "real"]


def test_of_one_account_another_service_waits_for_one() -> None:
    turns = Turns()
    for number in range(10_007):
        turns.add(f"noise{number}", 0, "tcp 873", Kind.NEWS)
    turns.add("real", 0, "tcp 443", Kind.NEWS)
    assert [turns.take(), turns.take()] == ["noise0", "real"]


def test_news_goes_before_repeats() -> None:
    turns = Turns()
    for number in range(3):
        turns.add(f"goes on {number}", 0, "tcp 443", Kind.REPEATS)
    turns.add("begins", 0, "tcp 443", Kind.NEWS)
    assert taken(turns) == ["begins", "goes on 0", "goes on 1", "goes on 2"]


def test_what_is_skipped_costs_nobody_a_turn() -> None:
    turns = Turns()
    for name, account in (("gone", 1), ("a", 1), ("b", 2), ("c", 1)):
        turns.add(name, account, "tcp 443", Kind.NEWS)
    assert turns.first() == "gone"
    turns.skip()
    assert taken(turns) == ["a", "b", "c"]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.booleans())))
def test_everybody_is_told_once_and_in_turn(added: list[tuple[int, int, bool]]) -> None:
    turns = Turns()
    whose = {}
    for number, (account, service, repeats) in enumerate(added):
        whose[f"e{number}"] = account
        turns.add(f"e{number}", account, f"s{service}", Kind.REPEATS if repeats else Kind.NEWS)
    order = taken(turns)
    assert sorted(order) == sorted(whose)
    left = {account: sum(its == account for its in whose.values()) for account in range(4)}
    since = dict.fromkeys(range(4), 0)
    for episode in order:
        for account in left:
            since[account] += 1
        assert all(since[account] <= 4 for account in left if left[account])
        left[whose[episode]] -= 1
        since[whose[episode]] = 0


def test_new_incidents_go_first_but_ends_get_their_share() -> None:
    turns = Turns()
    for number in range(8):
        turns.add(f"ends {number}", 0, f"tcp {number}", Kind.NEWS)
    for number in range(6):
        turns.add(f"begins {number}", 0, f"tcp {number}", Kind.BEGINS)
    assert taken(turns)[:8] == [
        "begins 0", "begins 1", "begins 2", "ends 0", "begins 3", "begins 4", "begins 5", "ends 1",
    ]  # fmt: skip


def test_the_newest_first_whether_its_service_is_known_or_not() -> None:
    turns = Turns()
    for number in range(3):
        turns.add(f"old {number}", 0, "tcp 443", Kind.BEGINS, newest_first=True)
    turns.add("new", 0, "tcp 5432", Kind.BEGINS, newest_first=True)
    assert taken(turns) == ["new", "old 2", "old 1", "old 0"]
