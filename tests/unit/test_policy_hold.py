# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is held is told if it lasts; other settings while it runs."""

from __future__ import annotations

import pytest

from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING
from sockbpf.record.event import Mode, What
from tests.unit.policies import (
    CLEAR,
    RECV,
    SEND,
    TCP,
    THRESHOLD,
    Kernel,
    S,
    assert_forgotten,
    back,
    changed,
    counted,
    event,
    over,
    policy,
    sweep,
    words,
)

# held

HOLD = S // 4


def test_there_is_no_notice_before_the_hold_has_passed() -> None:
    rules = policy(hold_ns=HOLD)
    assert rules.next_due_ns() is None
    assert rules.on_event(over(5 * S)) == []
    assert rules.next_due_ns() == 5 * S + HOLD
    assert rules.on_time(5 * S + HOLD - 1) == []
    rules.on_table([event(What.OVER, 5 * S, 5 * S + HOLD - 2, 1511, 4001)])
    (begun,) = rules.on_time(5 * S + HOLD)
    assert (begun.event, begun.ns, begun.since_ns) == (EXCEEDED, 5 * S, 5 * S)
    assert (begun.size, begun.peak, begun.threshold) == (1511, 4001, THRESHOLD)
    assert rules.next_due_ns() is None
    assert rules.on_time(5 * S + 2 * HOLD) == []
    (ended,) = rules.on_event(back(5 * S, 9 * S, peak=4001))
    assert (ended.event, ended.id, ended.ns, ended.peak) == (CLEARED, begun.id, 9 * S, 4001)
    assert counted(rules) == {}
    assert_forgotten(rules)


@pytest.mark.parametrize("lasted_ns", [1, HOLD - 1])
def test_what_ends_while_it_is_held_has_no_notice(lasted_ns: int) -> None:
    rules = policy(hold_ns=HOLD)
    assert rules.on_event(over(5 * S)) + rules.on_event(back(5 * S, 5 * S + lasted_ns)) == []
    assert counted(rules) == {"held_back": 1}
    assert rules.on_time(60 * S) == []
    assert_forgotten(rules)


@pytest.mark.parametrize("end_is_first", [True, False])
def test_what_was_over_for_long_enough_has_notices_however_late_it_is_read(*, end_is_first: bool) -> None:
    rules = policy(hold_ns=HOLD)
    notices = [] if end_is_first else rules.on_event(over(5 * S))
    notices += rules.on_event(back(5 * S, 5 * S + HOLD, size=401, peak=3001))
    assert [(n.event, n.ns, n.size, n.peak) for n in notices] == [
        (EXCEEDED, 5 * S, 2003, 3001), (CLEARED, 5 * S + HOLD, 401, 3001),
    ]  # fmt: skip
    assert counted(rules) == {}
    assert_forgotten(rules)


def test_what_was_held_is_repeated_from_its_exceeded_on() -> None:
    rules = policy(hold_ns=HOLD)
    rules.on_event(over(5 * S))
    assert words(rules.on_time(6 * S)) == [EXCEEDED]
    assert rules.on_time(36 * S - 1) == []
    assert words(rules.on_time(36 * S)) == [ONGOING]


def test_what_was_held_for_very_long_is_exceeded_before_it_is_repeated() -> None:
    rules = policy(hold_ns=HOLD)
    rules.on_event(over(5 * S))
    assert words(rules.on_time(500 * S)) == [EXCEEDED]
    assert words(rules.on_time(530 * S)) == [ONGOING]


def test_the_first_that_is_due_is_the_oldest_whatever_was_read_first() -> None:
    rules = policy(hold_ns=HOLD)
    for since_ns in (7, 5, 6):
        rules.on_event(over(since_ns * S, address=since_ns))
    for since_ns in (5, 6, 7):
        assert rules.next_due_ns() == since_ns * S + HOLD
        (begun,) = rules.on_time(since_ns * S + HOLD)
        assert begun.since_ns == since_ns * S
    assert rules.next_due_ns() is None


def test_what_a_sweep_began_is_held_on_when_the_hooks_take_it_over() -> None:
    rules = policy(hold_ns=HOLD)
    assert rules.on_sweep(sweep(5 * S, (TCP, 0, 3001)), Kernel().reap) == []
    since_ns = 5 * S + HOLD - 7
    assert rules.on_event(over(since_ns)) == []
    assert rules.next_due_ns() == 5 * S + HOLD
    (begun,) = rules.on_time(5 * S + HOLD)
    assert (begun.event, begun.ns, begun.mode) == (EXCEEDED, 5 * S, Mode.POLL)
    assert (begun.size, begun.peak) == (2003, 3001)
    assert words(rules.on_event(back(since_ns, 9 * S))) == [CLEARED]
    assert_forgotten(rules)


def test_sweeps_alone_hold_too() -> None:
    rules, kernel = policy(hold_ns=3 * S), Kernel()
    by_sweep = [
        rules.on_sweep(sweep(n * S, (TCP, 0, size)), kernel.reap) for n, size in ((5, 2003), (7, CLEAR))
    ]
    assert by_sweep == [[], []]
    assert counted(rules) == {"begun_by_sweep": 1, "ended_by_sweep": 1, "held_back": 1}
    by_sweep = [
        rules.on_sweep(sweep(n * S, (TCP, 0, size)), kernel.reap) for n, size in ((8, 2003), (10, 4001))
    ]
    (begun,) = rules.on_time(11 * S)
    assert by_sweep == [[], []]
    assert (begun.ns, begun.size, begun.peak) == (8 * S, 4001, 4001)


def test_what_the_table_misses_has_no_notice_until_its_end_is_read() -> None:
    """It is over no more; whether it was for long enough, its end will say."""
    rules = policy(hold_ns=HOLD)
    rules.on_event(over(5 * S))
    rules.on_table([])
    assert rules.on_time(6 * S) == []
    assert rules.next_due_ns() is None
    assert rules.on_event(back(5 * S, 5 * S + HOLD - 1)) == []
    assert counted(rules) == {"held_back": 1}
    assert_forgotten(rules)


def test_what_the_table_misses_and_holds_again_is_exceeded_once() -> None:
    rules = policy(hold_ns=HOLD)
    rules.on_event(over(5 * S))
    for entries in ([], [over(5 * S)], [], [over(5 * S)]):
        rules.on_table(entries)
    assert words(rules.on_time(5 * S + HOLD)) == [EXCEEDED]
    assert rules.on_time(6 * S) == []


def test_what_the_table_missed_when_it_was_due_is_exceeded_when_it_is_found() -> None:
    """A look can skip an entry while its neighbours change."""
    rules = policy(hold_ns=HOLD)
    rules.on_event(over(5 * S))
    rules.on_table([])
    assert rules.on_time(5 * S + HOLD) == []
    rules.on_table([event(What.OVER, 5 * S, 6 * S, 1511, 4001)])
    assert rules.next_due_ns() == 5 * S + HOLD
    (begun,) = rules.on_time(7 * S)
    assert (begun.event, begun.ns, begun.size) == (EXCEEDED, 5 * S, 1511)


def test_a_held_episode_whose_end_is_lost_has_notices_if_it_is_known_to_have_lasted() -> None:
    for known_ns, expected in ((HOLD - 1, []), (HOLD, [EXCEEDED, CLEARED])):
        rules = policy(hold_ns=HOLD)
        rules.on_event(over(5 * S))
        rules.on_table([event(What.OVER, 5 * S, 5 * S + known_ns, 1511, 4001)])
        assert words(rules.on_table([]) + rules.on_table([])) == expected
        assert_forgotten(rules)


def test_many_that_end_while_they_are_held_leave_nothing_behind() -> None:
    rules = policy(hold_ns=3600 * S)
    rules.on_event(over(4 * S, address=4))
    most = 0
    for number in range(10_007):
        rules.on_event(over(5 * S + number))
        rules.on_event(back(5 * S + number, 5 * S + number + 1))
        most = max(most, len(rules.episodes._held))
    assert 1 <= most < 100
    assert counted(rules) == {"held_back": 10_007}
    assert len(rules.open) == 1


def test_many_episodes_that_have_ended_leave_nothing_behind() -> None:
    rules = policy()
    for number in range(1009):
        rules.on_event(over(5 * S + number))
        rules.on_event(back(5 * S + number, 5 * S + number + 1))
        assert len(rules.episodes._repeats) < 100


@pytest.mark.parametrize("by_hooks", [True, False], ids=["hooks", "sweep"])
def test_a_raised_threshold_ends_what_is_under_its_clear_level(*, by_hooks: bool) -> None:
    rules, kernel = policy(), Kernel((17, RECV))
    notices = rules.on_event(over(5 * S)) if by_hooks else []
    notices += rules.on_sweep(sweep(6 * S, (TCP, 0, 2003)), kernel.reap)
    changed(rules, thresholds={SEND: THRESHOLD, RECV: 4005})
    assert rules.on_sweep(sweep(7 * S, (TCP, 0, 2003)), kernel.reap) == []
    notices += rules.on_sweep(sweep(8 * S, (TCP, 0, 2002)), kernel.reap)
    assert words(notices) == [EXCEEDED, CLEARED]
    assert {notice.threshold for notice in notices} == {THRESHOLD}
    assert kernel.asked == ([(17, RECV)] if by_hooks else [])
    assert rules.on_sweep(sweep(9 * S, (TCP, 0, 4005)), kernel.reap) == []
    assert_forgotten(rules)


def test_a_lowered_threshold_is_found_by_the_next_sweep() -> None:
    rules = policy()
    rules.on_event(over(5 * S))
    assert rules.on_sweep(sweep(6 * S, (TCP, 809, 2003)), Kernel().reap) == []
    changed(rules, thresholds={SEND: 808, RECV: 808})
    (begun,) = rules.on_sweep(sweep(7 * S, (TCP, 809, 2003)), Kernel().reap)
    assert (begun.direction, begun.size, begun.threshold) == (SEND, 809, 808)
    assert sorted(episode.threshold for episode in rules.open.values()) == [808, THRESHOLD]


def test_a_lowered_threshold_keeps_open_what_is_over_its_clear_level() -> None:
    rules, kernel = policy(), Kernel((17, RECV))
    rules.on_event(over(5 * S))
    changed(rules, thresholds={SEND: 808, RECV: 808})
    assert rules.on_sweep(sweep(6 * S, (TCP, 0, 405)), kernel.reap) == []
    assert words(rules.on_sweep(sweep(7 * S, (TCP, 0, 404)), kernel.reap)) == [CLEARED]


@pytest.mark.parametrize("hold_ns", [0, HOLD // 2, 2 * HOLD])
def test_what_is_held_waits_as_long_as_the_new_rules_say(hold_ns: int) -> None:
    rules = policy(hold_ns=HOLD)
    rules.on_event(over(5 * S))
    changed(rules, hold_ns=hold_ns)
    assert rules.next_due_ns() == 5 * S + hold_ns
    assert rules.on_time(5 * S + hold_ns - 1) == []
    assert words(rules.on_time(5 * S + hold_ns)) == [EXCEEDED]


def test_what_was_exceeded_is_not_held_by_new_levels() -> None:
    rules = policy()
    rules.on_event(over(5 * S))
    changed(rules, hold_ns=HOLD)
    assert words(rules.on_event(back(5 * S, 5 * S + 1))) == [CLEARED]
    assert counted(rules) == {}


@pytest.mark.parametrize("repeat_ns", [1, 7 * S, 61 * S])
def test_the_next_repeat_is_when_the_new_rules_say(repeat_ns: int) -> None:
    rules = policy()
    rules.on_event(over(5 * S))
    changed(rules, repeat_ns=repeat_ns)
    assert rules.on_time(5 * S + repeat_ns - 1) == []
    assert words(rules.on_time(5 * S + repeat_ns)) == [ONGOING]
