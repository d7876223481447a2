# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Turns: nobody waits for more than one of each other's, whatever they have waiting."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sockbpf.delivery.turns import Turns


def taken(turns: Turns) -> list[str]:
    found = []
    while (episode := turns.take()) is not None:
        found.append(episode)
    return found


def test_one_account_gives_its_episodes_in_their_order() -> None:
    turns = Turns()
    for number in range(101):
        turns.add(f"e{number}", 0, "tcp 443", repeats=False)
    assert taken(turns) == [f"e{number}" for number in range(101)]
    assert not turns


def test_another_account_waits_for_one_of_ten_thousand() -> None:
    turns = Turns()
    for number in range(10_007):
        turns.add(f"noise{number}", 1009, f"tcp {number}", repeats=False)
    turns.add("real", 0, "tcp 443", repeats=False)
    assert [turns.take(), turns.take()] == ["noise0", "real"]


def test_of_one_account_another_service_waits_for_one() -> None:
    turns = Turns()
    for number in range(10_007):
        turns.add(f"noise{number}", 0, "tcp 873", repeats=False)
    turns.add("real", 0, "tcp 443", repeats=False)
    assert [turns.take(), turns.take()] == ["noise0", "real"]


def test_news_goes_before_repeats() -> None:
    turns = Turns()
    for number in range(3):
        turns.add(f"goes on {number}", 0, "tcp 443", repeats=True)
    turns.add("begins", 0, "tcp 443", repeats=False)
    assert taken(turns) == ["begins", "goes on 0", "goes on 1", "goes on 2"]


def test_what_is_skipped_costs_nobody_a_turn() -> None:
    turns = Turns()
    for name, account in (("gone", 1), ("a", 1), ("b", 2), ("c", 1)):
        turns.add(name, account, "tcp 443", repeats=False)
    assert turns.first() == "gone"
    turns.skip()
    assert taken(turns) == ["a", "b", "c"]


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 2), st.booleans())))
def test_everybody_is_told_once_and_in_turn(added: list[tuple[int, int, bool]]) -> None:
    turns = Turns()
    whose = {}
    for number, (account, service, repeats) in enumerate(added):
        whose[f"e{number}"] = account
        turns.add(f"e{number}", account, f"s{service}", repeats=repeats)
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
