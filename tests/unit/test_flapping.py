# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Flapping: the first notices of a queue are passed on, the rest is counted, and the counts add up."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.judge import flapping as module
from sockbpf.judge.flapping import Flapping
from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Notice
from tests.unit.notices import MINUTE, S, flapping, notice


def cross(stage: Flapping, times: int, ns: int, queue: int = 0, first: int = 0) -> list[Notice]:
    """Have a queue cross and come back so often, a millisecond each; return the notices that are passed on."""
    notices: list[Notice] = []
    for number in range(first, first + times):
        notices += stage.on_notices([notice(EXCEEDED, number, ns, queue)], ns)
        notices += stage.on_notices([notice(CLEARED, number, ns + 500_000, queue)], ns + 500_000)
        ns += 1_000_000
    return notices


def words(notices: list[Notice]) -> list[str]:
    return [one.event for one in notices]


def until(stage: Flapping, ns: int) -> list[Notice]:
    """Return the notices that are passed on until then, to a loop that wakes when one is due."""
    notices: list[Notice] = []
    while (due_ns := stage.next_due_ns()) is not None and due_ns <= ns:
        notices += stage.on_time(due_ns)
    return notices + stage.on_time(ns)


def test_10007_crossings_of_one_queue_are_seven_words_and_the_count_adds_up() -> None:
    stage = flapping()
    notices = cross(stage, 10_007, S) + until(stage, S + 10 * MINUTE)
    assert words(notices) == [EXCEEDED, CLEARED, EXCEEDED, CLEARED, EXCEEDED, ONGOING, CLEARED]
    assert words(notices).count(EXCEEDED) + sum(one.crossings for one in notices) == 10_007
    assert stage.next_due_ns() is None
    assert not stage.is_open("id-0-2")


@pytest.mark.parametrize(("above", "at_once"), [(1, 1), (2, 1), (3, 3), (4, 3), (5, 5), (9, 9)])
def test_no_more_than_above_notices_are_passed_on_at_once(above: int, at_once: int) -> None:
    stage = flapping(above)
    assert len(cross(stage, 101, S)) == at_once <= above


def test_above_0_each_crossing_is_passed_on() -> None:
    stage = flapping(0)
    assert len(cross(stage, 101, S)) == 202
    assert stage.next_due_ns() is None


def test_few_crossings_are_passed_on_singly_for_ever() -> None:
    stage = flapping()
    notices = [one for n in range(101) for one in cross(stage, 1, n * 31 * S, first=n)]
    assert words(notices) == [EXCEEDED, CLEARED] * 101


def test_a_flap_is_one_episode_from_its_first_word_to_its_last() -> None:
    stage = flapping(repeat_ns=10 * MINUTE)
    began = cross(stage, 7, S)[-1]
    assert stage.is_open(began.id)
    (ended,) = until(stage, S + 2 * MINUTE)[-1:]
    assert (ended.event, ended.id, ended.since_ns) == (CLEARED, began.id, began.since_ns)
    assert ended.ns == S + 6 * 1_000_000 + 500_000, "when it came back, not when that was sure"
    assert (ended.peak, ended.crossings) == (3006, 4)


def test_a_queue_that_hangs_while_it_flaps_has_ongoing_for_ever() -> None:
    stage = flapping()
    cross(stage, 7, S)
    assert stage.on_notices([notice(EXCEEDED, 7, 2 * S)], 2 * S) == []
    notices = until(stage, 2 * S + 10 * MINUTE)
    assert set(words(notices)) == {ONGOING}
    assert len(notices) == 10
    assert sum(one.crossings for one in notices) == 5
    assert stage.on_notices([notice(CLEARED, 7, 11 * MINUTE)], 11 * MINUTE) == []
    assert words(until(stage, 13 * MINUTE))[-1] == CLEARED


def test_an_end_that_comes_after_the_next_beginning_does_not_end_the_flap() -> None:
    stage = flapping()
    cross(stage, 3, S)
    stage.on_notices(
        [notice(EXCEEDED, 3, 2 * S), notice(EXCEEDED, 4, 2 * S), notice(CLEARED, 3, 2 * S)], 2 * S
    )
    assert CLEARED not in words(until(stage, 5 * MINUTE))


def test_the_words_of_an_episode_that_goes_on_are_counted_too() -> None:
    stage = flapping()
    cross(stage, 2, S)
    assert words(stage.on_notices([notice(EXCEEDED, 2, 2 * S)], 2 * S)) == [EXCEEDED]
    assert stage.on_notices([notice(ONGOING, 2, 3 * S)], 3 * S) == []


def test_queues_flap_apart() -> None:
    stage = flapping()
    notices = [one for queue in range(20) for one in cross(stage, 101, S, queue)]
    assert len(notices) == 20 * 5
    assert words(cross(stage, 1, S, queue=21)) == [EXCEEDED, CLEARED]


def test_at_the_stop_what_is_back_is_cleared() -> None:
    stage = flapping()
    cross(stage, 7, S)
    cross(stage, 7, S, queue=1)
    stage.on_notices([notice(EXCEEDED, 7, 2 * S, queue=1)], 2 * S)
    (ended,) = stage.flush()
    assert (ended.event, ended.crossings) == (CLEARED, 4)
    assert words(until(stage, 5 * MINUTE)) == [ONGOING] * 4


def test_what_is_remembered_is_bounded_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_QUEUES", 1009)
    stage = flapping()
    for queue in range(3 * 1009):
        stage.on_notices([notice(EXCEEDED, 0, S, queue)], S)
    assert len(stage._alerts_ns) == 1009
    stage.on_time(S + MINUTE)
    assert not stage._alerts_ns


@settings(max_examples=200)
@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 70 * S)), max_size=120),
    st.integers(1, 9),
    st.sampled_from([S, 10 * S, MINUTE]),
    st.sampled_from([S, 30 * S, MINUTE]),
)
def test_crossings_add_up_whatever_happens(
    steps: list[tuple[int, int]], above: int, window_ns: int, repeat_ns: int
) -> None:
    stage = flapping(above, window_ns, repeat_ns)
    notices: list[Notice] = []
    over: dict[int, int] = {}
    crossed = ns = 0
    for queue, pause_ns in steps:
        ns += pause_ns
        notices += until(stage, ns)
        if queue in over:
            notices += stage.on_notices([notice(CLEARED, over.pop(queue), ns, queue)], ns)
        else:
            crossed += 1
            over[queue] = crossed
            notices += stage.on_notices([notice(EXCEEDED, crossed, ns, queue)], ns)
    for queue, number in over.items():
        notices += stage.on_notices([notice(CLEARED, number, ns, queue)], ns)
    notices += until(stage, ns + 10 * max(window_ns, repeat_ns))
    assert words(notices).count(EXCEEDED) + sum(one.crossings for one in notices) == crossed
    open_: set[str] = set()
    for one in notices:  # each id begins once, ends once, and is silent after
        assert (one.id in open_) is (one.event != EXCEEDED)
        (open_.discard if one.event == CLEARED else open_.add)(one.id)
    assert not open_
    assert stage.next_due_ns() is None
