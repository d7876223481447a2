# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What one destination is owed: in order for each episode, when it may be tried, what is given up, how it ends."""

from __future__ import annotations

import threading

from sockbpf.delivery.breaker import TRIPS_AFTER, Breaker, Bucket
from sockbpf.delivery.owed import Owed
from sockbpf.delivery.queue import Queue
from tests.unit.queues import Clock, owed, queue, ready


def test_an_episode_is_told_in_order_and_one_at_a_time() -> None:
    clock = Clock()
    asked = queue(clock)
    asked.offer([owed(1, "a"), owed(2, "a"), owed(3, "b"), owed(4, "a")])
    one, three = ready(asked, clock), ready(asked, clock)
    assert one is not None
    assert three is not None
    assert (one.n, three.n) == (1, 3)
    assert ready(asked, clock) is None, "both episodes have one under way"
    asked.worked(one)
    two = ready(asked, clock)
    assert two is not None
    assert two.n == 2
    assert asked.depth() == 3


def test_what_failed_waits_and_keeps_its_place_in_its_episode() -> None:
    clock = Clock()
    asked = queue(clock)
    asked.offer([owed(1, "a"), owed(2, "a"), owed(3, "b")])
    one = ready(asked, clock)
    assert one is not None
    asked.failed(one, 0)
    three = ready(asked, clock)
    assert three is not None
    assert three.n == 3
    asked.worked(three)
    assert ready(asked, clock) is None, "not before its pause"
    clock.now_s += 8
    again = ready(asked, clock)
    assert again == one


def test_a_dead_destination_is_bothered_by_one_at_a_time() -> None:
    clock = Clock()
    asked = queue(clock)
    asked.offer([owed(n) for n in range(1, 1000)])
    under_way = [ready(asked, clock) for _ in range(TRIPS_AFTER)]
    for one in under_way:
        assert one is not None
        asked.failed(one, 0)
    assert asked.is_broken()
    tries = 0
    for _ in range(1009):
        clock.now_s += 0.1
        one = ready(asked, clock)
        if one is not None:
            tries += 1
            assert ready(asked, clock) is None
            asked.failed(one, 0)
    assert 100 / 8.1 - 1 <= tries <= 100
    clock.now_s += 8
    one = ready(asked, clock)
    assert one is not None
    asked.worked(one)
    assert ready(asked, clock) is not None
    assert ready(asked, clock) is not None, "it is alive: as many as can"


def test_what_comes_for_a_dead_destination_wakes_nobody() -> None:
    clock = Clock()
    asked = queue(clock)
    asked.offer([owed(n) for n in range(1, 1 + TRIPS_AFTER)])
    for one in [ready(asked, clock) for _ in range(TRIPS_AFTER)]:
        assert one is not None
        asked.failed(one, 0)
    wakes: list[int] = []
    asked._changed.notify = lambda n=1: wakes.append(n)  # type: ignore[method-assign]
    asked.offer([owed(100)])  # due before those that failed: somebody is to wait for that
    wakes.clear()
    asked.offer([owed(n) for n in range(101, 200)])
    assert not wakes
    clock.now_s += 8
    asked.offer([owed(n) for n in range(200, 300)])
    assert wakes == [1]


def test_it_says_when_something_is_due() -> None:
    clock = Clock()
    asked = queue(clock)
    assert asked.due_s() is None
    asked.offer([owed(1)])
    assert asked.due_s() == clock.now_s
    one = ready(asked, clock)
    assert one is not None
    assert asked.due_s() is None, "it is under way"
    asked.failed(one, 60)
    assert asked.due_s() == clock.now_s + 60


def test_too_many_are_given_up_oldest_first_but_not_what_is_under_way() -> None:
    clock = Clock()
    asked = queue(clock, capacity=3)
    assert asked.offer([owed(1), owed(2), owed(3)]) == []
    one = ready(asked, clock)
    assert one is not None
    assert [gone.n for gone in asked.offer([owed(4), owed(5)])] == [2, 3]
    asked.worked(one)
    assert [left.n for left in asked.owed()] == [4, 5]


def test_what_is_too_old_is_given_up() -> None:
    clock = Clock()
    asked = queue(clock)
    asked.offer([owed(1, made_s=10), owed(2, made_s=20), owed(3, made_s=30)])
    assert [gone.n for gone in asked.expire(25)] == [1, 2]
    assert asked.oldest_s() == 30


def test_a_rate_is_kept() -> None:
    clock = Clock()
    asked = queue(clock, rate=10, burst=2)
    asked.offer([owed(n) for n in range(1, 100)])
    sent = 0
    for _ in range(40):
        while ready(asked, clock) is not None:
            sent += 1
        clock.now_s += 0.05
    assert 2 + 18 <= sent <= 2 + 20


def test_a_closed_queue_gives_all_once_more_and_then_nothing() -> None:
    clock = Clock()
    asked = queue(clock)
    asked.offer([owed(1, "a"), owed(2, "a"), owed(3, "b")])
    for _ in range(2):
        one = ready(asked, clock)
        assert one is not None
        asked.failed(one, 0)
    asked.close(clock.now_s + 0.5)
    taken = []
    while (one := asked.take()) is not None:
        taken.append(one.n)
        asked.worked(one)
    assert sorted(taken) == [1, 2, 3]
    assert taken.index(1) < taken.index(2)


def test_a_closed_queue_does_not_wait_for_what_is_due_after_the_end() -> None:
    clock = Clock()
    asked = queue(clock)
    asked.offer([owed(1)])
    asked.close(clock.now_s + 0.5)
    one = asked.take()
    assert one is not None
    asked.failed(one, 0)
    assert asked.take() is None
    assert asked.depth() == 1


def test_another_shift_goes_on_where_the_one_before_was_and_settles_what_that_began() -> None:
    clock = Clock()
    asked = queue(clock)
    asked.offer([owed(1, "a"), owed(2, "a"), owed(3, "b"), owed(4, "c"), owed(5, "d")])
    begun = [ready(asked, clock) for _ in range(3)]
    shift = object()
    terms = {"breaker": Breaker(1, 8), "bucket": Bucket(0, 1)}
    assert asked.hand_over(shift, capacity=1000, **terms) == []  # type: ignore[arg-type]
    assert asked.take() is None, "the one before is given nothing more"
    one = asked.take(shift)
    assert one is not None
    assert one.n == 5, "nothing that is under way"
    for each in begun:
        assert each is not None
    asked.worked(begun[0])  # type: ignore[arg-type]
    for each in begun[1:]:
        assert asked.failed(each, 60), "it is owed still"  # type: ignore[arg-type]
    assert not asked.is_broken(), "that says nothing of the new one"
    two = [asked.take(shift) for _ in range(3)]
    assert sorted(each.n for each in two if each) == [2, 3, 4]
    asked.offer([owed(6)])
    assert [gone.n for gone in asked.hand_over(object(), capacity=4, **terms)] == [6]  # type: ignore[arg-type]


def test_a_queue_that_ends_keeps_what_is_under_way_until_it_is_told_the_end() -> None:
    clock = Clock()
    asked = queue(clock)
    asked.offer([owed(1), owed(2), owed(3)])
    one, two = ready(asked, clock), ready(asked, clock)
    assert [gone.n for gone in asked.end()] == [3]
    assert asked.take() is None
    assert asked.depth() == 2
    asked.worked(one)  # type: ignore[arg-type]
    assert not asked.failed(two, 0)  # type: ignore[arg-type]
    assert asked.depth() == 0


def test_a_taker_that_waits_is_woken() -> None:
    asked = Queue(capacity=9, breaker=Breaker(1, 8), bucket=Bucket(0, 1))
    taken: list[Owed | None] = []
    waiting = threading.Thread(target=lambda: taken.append(asked.take()))
    waiting.start()
    asked.offer([owed(1)])
    waiting.join(60)
    assert [one.n for one in taken if one] == [1]
