# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Who must do without: whoever has most, and of that first what only repeats."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from sockbpf.delivery.most import Most
from sockbpf.delivery.owed import Owed
from sockbpf.delivery.shares import Shares


def owed(n: int, account: int, service: str = "tcp RECV 443", event: str = "exceeded") -> Owed:
    return Owed(n, "http", f"e{n}", 0, f'{{"event":"{event}"}}', account, service)


def shares(*all_owed: Owed) -> Shares:
    made = Shares()
    for one in all_owed:
        made.add(one)
    return made


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5))))
def test_most_is_what_a_count_says(steps: list[tuple[bool, int]]) -> None:
    most, counted = Most[int](), Counter[int]()
    for adds, key in steps:
        if adds:
            most.add(key)
            counted[key] += 1
        elif counted[key]:
            most.remove(key)
            counted[key] -= 1
        first = most.first()
        highest = max(counted.values(), default=0)
        assert (first is None) is (highest == 0)
        if first is not None:
            assert counted[first] == highest


def test_of_whoever_has_most_the_oldest_goes() -> None:
    made = shares(owed(1, 0), *(owed(n, 1009) for n in range(2, 9)))
    assert made.victim(()) == 2
    assert made.victim({2, 3}) == 4


def test_of_one_account_the_service_that_has_most_does_without() -> None:
    made = shares(owed(1, 0), *(owed(n, 0, "tcp SEND 873") for n in range(2, 9)))
    assert made.victim(()) == 2


def test_what_only_repeats_goes_first() -> None:
    assert shares(owed(1, 0), owed(2, 0, event="ongoing"), owed(3, 0, event="cleared")).victim(()) == 2


def test_all_spared_is_nobody() -> None:
    assert shares(owed(1, 0)).victim({1}) is None
    assert shares().victim(()) is None


def test_nothing_is_remembered_of_what_is_gone() -> None:
    every = [owed(n, n % 3, f"tcp RECV {n % 5}", ("exceeded", "ongoing")[n % 2]) for n in range(101)]
    made = shares(*every)
    for one in every:
        made.remove(one)
    assert not made._numbers
    assert not made._services
    assert made.victim(()) is None
