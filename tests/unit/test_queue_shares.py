# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Whatever happens all are delivered or given up; nobody waits for another user's alerts; nothing piles up."""

from __future__ import annotations

from collections import defaultdict

from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.delivery.owed import Owed
from tests.unit.queues import Clock, owed, queue, ready, steps

STEPS = steps(st.just(0), "worked", "failed", "asked")


@given(STEPS, st.integers(1, 12))
@settings(max_examples=150, deadline=None)
def test_whatever_happens_all_are_delivered_in_order_or_given_up(  # noqa: C901, one branch for each step
    steps: list[tuple[str, int]], capacity: int
) -> None:
    clock = Clock()
    asked = queue(clock, capacity=capacity)
    under_way: list[Owed] = []
    done: dict[str, list[int]] = defaultdict(list)
    made, gone = 0, set()
    for step, number in steps:
        if step == "offer":
            made += 1
            gone |= {one.n for one in asked.offer([owed(made, f"episode {number}", made_s=made)])}
        elif step == "take":
            one = ready(asked, clock)
            if one:
                assert one.episode not in {other.episode for other in under_way}
                under_way.append(one)
        elif step == "wait":
            clock.now_s += number
        elif step == "expire":
            gone |= {one.n for one in asked.expire(number)}
        elif under_way:
            one = under_way.pop(number % len(under_way))
            if step == "worked":
                done[one.episode].append(one.n)
                asked.worked(one)
            else:
                asked.failed(one, 3 if step == "asked" else 0)
        assert asked.depth() <= capacity + len(under_way)
    for one in under_way:
        done[one.episode].append(one.n)
        asked.worked(one)
    while asked.depth():
        clock.now_s += 9
        while (one := ready(asked, clock)) is not None:
            done[one.episode].append(one.n)
            asked.worked(one)
    delivered = [n for numbers in done.values() for n in numbers]
    assert sorted([*delivered, *gone]) == list(range(1, made + 1)), "each once: delivered or given up"
    assert all(numbers == sorted(numbers) for numbers in done.values())
    assert not asked._backlog.episodes
    assert not asked._pauses.failures
    assert not asked._backlog.under_way


def test_a_storm_is_taken_without_delay() -> None:
    """Linear in its size: a scan of all for each would take minutes."""
    clock, number = Clock(), 20_011
    asked = queue(clock, capacity=number)
    asked.offer([owed(n) for n in range(number)])
    for _ in range(number):
        one = ready(asked, clock)
        assert one is not None
        asked.worked(one)
    assert asked.depth() == 0


def noisy(n: int, event: str = "exceeded") -> Owed:
    return Owed(n, "http", f"noise {n}", 0, f'{{"event":"{event}"}}', 1009, f"tcp RECV {n % 101}")


def real(n: int) -> Owed:
    return Owed(n, "http", f"real {n}", 0, '{"event":"exceeded"}', 0, "tcp RECV 443")


def test_the_alert_of_another_user_is_next_however_many_wait() -> None:
    clock = Clock()
    asked = queue(clock, capacity=20_000)
    asked.offer([noisy(n) for n in range(1, 10_008)])
    asked.offer([real(20_001)])
    given = [one.n for _ in range(3) if (one := ready(asked, clock))]
    assert 20_001 in given


def test_whoever_has_most_does_without() -> None:
    clock = Clock()
    asked = queue(clock, capacity=101)
    given_up = asked.offer([real(n) for n in range(1, 21)])
    for n in range(21, 10_021, 7):
        given_up += asked.offer([noisy(m) for m in range(n, n + 7)])
    assert {one.account for one in given_up} == {1009}
    assert asked.depth() == 101
    assert sum(one.account == 0 for one in asked.owed()) == 20


def test_a_place_where_nobody_listens_is_asked_again_within_a_second() -> None:
    clock = Clock()
    asked = queue(clock)
    asked.offer([owed(n) for n in range(1, 100)])
    for _ in range(20):
        one = ready(asked, clock)
        assert one is not None
        asked.failed(one, 0, absent=True)
        if asked.is_broken():
            clock.now_s += 0.75


def test_what_failed_while_nobody_was_there_is_due_when_somebody_is() -> None:
    clock = Clock()
    asked = queue(clock)
    asked.offer([owed(n) for n in range(1, 8)])
    for _ in range(5):
        one = ready(asked, clock)
        assert one is not None
        asked.failed(one, 0)
        clock.now_s += 8 if asked.is_broken() else 0
    taken = ready(asked, clock)
    assert taken is not None
    asked.worked(taken)
    left = set()
    while one := ready(asked, clock):
        left.add(one.n)
    assert left == set(range(1, 8)) - {taken.n}


def test_nothing_piles_up_of_what_is_given_up() -> None:
    clock = Clock()
    asked = queue(clock, capacity=101)
    for n in range(1, 10_008):
        asked.offer([noisy(n)])
    assert len(asked._ready) <= 2 * 101 + 64 + 1
    assert asked.depth() == 101
