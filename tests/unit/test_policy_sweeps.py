# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What sweeps begin, end and mend beside the hooks."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sockbpf.counters import Counters
from sockbpf.judge.levels import levels_by_direction, same_for_all
from sockbpf.judge.policy import Policy
from sockbpf.record.alert import CLEARED, EXCEEDED
from sockbpf.record.event import Mode, What
from tests.unit.policies import (
    CLEAR,
    LEVELS,
    NETNS,
    RECV,
    SEND,
    TCP,
    THRESHOLD,
    UDP,
    Kernel,
    S,
    assert_forgotten,
    back,
    counted,
    event,
    nobody,
    over,
    policy,
    sweep,
    words,
)

# sweeps


def test_a_sweep_begins_updates_and_ends_what_the_hooks_did_not_see() -> None:
    rules, kernel = policy(), Kernel()
    notices = []
    for begun_ns, size in ((5 * S, 2003), (6 * S, 4001), (7 * S, CLEAR + 1), (8 * S, CLEAR)):
        rules.sweep_begins()
        notices += rules.on_sweep(sweep(begun_ns, (TCP, 0, size)), kernel.reap)
    begun, ended = notices
    assert (begun.event, begun.ns, begun.size, begun.peak, begun.mode) == (
        EXCEEDED,
        5 * S,
        2003,
        2003,
        Mode.POLL,
    )
    assert (ended.event, ended.ns, ended.since_ns) == (CLEARED, 8 * S + S // 1000, 5 * S)
    assert (ended.size, ended.peak, ended.id) == (CLEAR, 4001, begun.id)
    assert counted(rules) == {"begun_by_sweep": 1, "ended_by_sweep": 1}
    assert kernel.asked == []
    assert_forgotten(rules)


@pytest.mark.parametrize("size", [0, THRESHOLD - 1, THRESHOLD])
def test_a_queue_at_the_threshold_is_not_over(size: int) -> None:
    assert policy().on_sweep(sweep(5 * S, (TCP, size, size)), Kernel().reap) == []


def test_a_sweep_begins_and_ends_with_what_is_surely_there() -> None:
    """On kernels that count what was read: over if the rest is, back when the rest is; the size is the kernel's."""
    rules, kernel = policy(), Kernel()
    notices = []
    for begun_ns, unsure in ((5 * S, 2003 - THRESHOLD), (6 * S, 2002 - THRESHOLD), (7 * S, 2003 - CLEAR)):
        rules.sweep_begins()
        notices += rules.on_sweep(sweep(begun_ns, (UDP, 0, 2003), unsure=unsure), kernel.reap)
    begun, ended = notices
    assert (begun.event, begun.ns, begun.size) == (EXCEEDED, 6 * S, 2003)
    assert (ended.event, ended.size, ended.peak) == (CLEARED, CLEAR, 2003)
    assert_forgotten(rules)


def test_what_is_sent_is_never_unsure() -> None:
    (begun,) = policy().on_sweep(sweep(5 * S, (UDP, 2003, 0), unsure=2003), Kernel().reap)
    assert (begun.event, begun.direction) == (EXCEEDED, SEND)


def test_a_sweep_that_is_unsure_does_not_end_what_the_hooks_began() -> None:
    rules, kernel = policy(), Kernel((17, RECV))
    rules.on_event(over(5 * S, socket=UDP))
    rules.sweep_begins()
    assert rules.on_sweep(sweep(6 * S, (UDP, 0, 2003), unsure=2003), kernel.reap) == []
    assert kernel.asked == []


def test_a_sweep_leaves_alone_what_the_hooks_know() -> None:
    rules = policy()
    rules.on_event(over(5 * S))
    rules.sweep_begins()
    assert rules.on_sweep(sweep(6 * S, (TCP, 0, 2003)), Kernel().reap) == []
    assert counted(rules) == {}


def test_a_sweep_later_than_the_hooks_last_word_knows_the_size_better() -> None:
    """Two processors may write it into the table in the wrong order, and then nothing may happen for long."""
    rules, kernel = policy(), Kernel()
    rules.on_event(over(5 * S))
    rules.on_sweep(sweep(6 * S, (TCP, 0, 1213)), kernel.reap)
    assert rules.on_table([event(What.OVER, 5 * S, 6 * S - 1, 2003)]) == []
    (episode,) = rules.open.values()
    assert (episode.ns, episode.size, episode.peak) == (6 * S + S // 1000, 1213, 2003)
    rules.on_table([event(What.OVER, 5 * S, 7 * S, 1511, 4001)])
    rules.on_sweep(
        sweep(7 * S - 1, (TCP, 0, 1213)), kernel.reap
    )  # the hooks' word came while it was under way
    assert (episode.ns, episode.size, episode.peak) == (7 * S, 1511, 4001)
    rules.on_sweep(sweep(8 * S, (TCP, 0, 5003)), kernel.reap)
    assert (episode.size, episode.peak) == (5003, 5003)


def test_a_sweep_that_is_unsure_does_not_know_the_size_better() -> None:
    rules = policy()
    rules.on_event(over(5 * S, socket=UDP))
    rules.on_sweep(sweep(6 * S, (UDP, 0, 4001), unsure=1), Kernel().reap)
    (episode,) = rules.open.values()
    assert (episode.ns, episode.size, episode.peak) == (5 * S, 2003, 2003)


def test_the_hooks_take_over_what_a_sweep_began() -> None:
    rules = policy()
    (begun,) = rules.on_sweep(sweep(5 * S, (TCP, 0, 2003)), Kernel().reap)
    assert rules.on_event(over(6 * S)) == []
    assert rules.on_table([event(What.OVER, 6 * S, 7 * S, 3001, 4001)]) == []
    (ended,) = rules.on_event(back(6 * S, 8 * S, size=401, peak=4001))
    assert (ended.event, ended.id, ended.since_ns, ended.peak) == (CLEARED, begun.id, 5 * S, 4001)
    assert counted(rules) == {"begun_by_sweep": 1}
    assert_forgotten(rules)


def test_the_hooks_take_over_by_an_end_read_before_its_beginning() -> None:
    rules = policy()
    (begun,) = rules.on_sweep(sweep(5 * S, (TCP, 0, 2003)), Kernel().reap)
    (ended,) = rules.on_event(back(6 * S, 8 * S))
    assert (ended.event, ended.id) == (CLEARED, begun.id)
    assert rules.on_event(over(6 * S)) == []
    assert_forgotten(rules)


def test_the_table_takes_over_what_a_sweep_began() -> None:
    rules = policy()
    rules.on_sweep(sweep(5 * S, (TCP, 0, 2003)), Kernel().reap)
    assert rules.on_table([over(6 * S)]) == []
    assert counted(rules) == {"begun_by_sweep": 1}
    assert [words(rules.on_table([])), words(rules.on_table([]))] == [[], [CLEARED]]


def test_a_sweep_ends_what_the_hooks_left_open_and_has_the_kernel_forget_it() -> None:
    rules, kernel = policy(), Kernel((17, RECV))
    rules.on_event(over(5 * S))
    (ended,) = rules.on_sweep(sweep(6 * S, (TCP, 0, CLEAR)), kernel.reap)
    assert (ended.event, ended.ns, ended.size, ended.peak) == (CLEARED, 6 * S + S // 1000, CLEAR, 2003)
    assert kernel.asked == [(17, RECV)]
    assert counted(rules) == {"ended_by_sweep": 1}
    assert_forgotten(rules)


def test_a_refused_reap_leaves_the_end_to_the_kernel() -> None:
    rules = policy()
    rules.on_event(over(5 * S))
    assert rules.on_sweep(sweep(6 * S, (TCP, 0, 0)), Kernel().reap) == []
    assert words(rules.on_event(back(5 * S, 7 * S))) == [CLEARED]
    assert counted(rules) == {}
    assert_forgotten(rules)


def test_a_socket_absent_from_one_sweep_is_not_gone() -> None:
    rules, kernel = policy(), Kernel((17, RECV))
    rules.on_event(over(5 * S))
    for begun_ns, readings in ((6, ()), (7, ((TCP, 0, 2003),)), (8, ()), (9, ((TCP, 0, 2003),))):
        assert rules.on_sweep(sweep(begun_ns * S, *readings), kernel.reap) == []
    assert kernel.asked == []


@pytest.mark.parametrize("begun_by_hooks", [True, False], ids=["hooks", "sweep"])
def test_a_socket_absent_from_two_sweeps_is_gone(*, begun_by_hooks: bool) -> None:
    rules, kernel = policy(), Kernel((17, RECV))
    if begun_by_hooks:
        rules.on_event(over(5 * S))
    else:
        rules.on_sweep(sweep(5 * S, (TCP, 0, 2003)), kernel.reap)
    assert rules.on_sweep(sweep(6 * S), kernel.reap) == []
    (ended,) = rules.on_sweep(sweep(7 * S), kernel.reap)
    assert (ended.event, ended.size, ended.ns) == (CLEARED, 0, 7 * S + S // 1000)
    assert counted(rules)["ended_by_sweep"] == 1
    assert_forgotten(rules)


def test_a_namespace_gone_takes_its_sockets_along() -> None:
    rules, kernel = policy(), Kernel((17, RECV))
    elsewhere = replace(TCP, netns=NETNS + 7)
    rules.on_event(over(5 * S, socket=elsewhere))
    for begun_ns in (6, 7, 8):  # sweeps of other namespaces say nothing of it
        assert rules.on_sweep(sweep(begun_ns * S), kernel.reap) == []
    gone = [rules.on_sweep(sweep(n * S, not_found=(NETNS + 7,)), kernel.reap) for n in (9, 10)]
    assert [words(each) for each in gone] == [[], [CLEARED]]
    assert_forgotten(rules)


def test_a_namespace_that_only_a_socket_holds_is_not_gone() -> None:
    rules = policy(owner_of=lambda inode: (4711, "holder") if inode == TCP.inode else (0, ""))
    kernel = Kernel((17, RECV))
    rules.on_event(over(5 * S))
    for begun_ns in (6, 7, 8):
        assert rules.on_sweep(sweep(begun_ns * S, netns=(), not_found=(NETNS,)), kernel.reap) == []


def test_a_socket_that_may_be_held_in_a_namespace_that_no_sweep_sees_is_not_gone() -> None:
    """Who holds it was not looked for, for want of time: that is no answer."""
    held = {TCP.inode: True}
    rules = Policy(
        same_for_all(levels_by_direction(**LEVELS)), Counters(), "salt", nobody, lambda inode, _: held[inode]
    )
    rules.on_event(over(5 * S))
    kernel = Kernel((17, RECV))
    for begun_ns in (6, 7, 8):
        assert rules.on_sweep(sweep(begun_ns * S, netns=(), not_found=(NETNS,)), kernel.reap) == []
    held[TCP.inode] = False
    by_sweep = [rules.on_sweep(sweep(n * S, netns=(), not_found=(NETNS,)), kernel.reap) for n in (9, 10)]
    assert words(by_sweep[0] + by_sweep[1]) == [CLEARED]


def test_the_hooks_know_better_than_an_older_sweep() -> None:
    rules, kernel = policy(), Kernel((17, RECV))
    rules.on_event(over(5 * S))
    rules.on_table([event(What.OVER, 5 * S, 6 * S + 1, 2003)])
    for _ in range(3):
        assert rules.on_sweep(sweep(6 * S, (TCP, 0, 0)), kernel.reap) == []
        assert rules.on_sweep(sweep(6 * S), kernel.reap) == []
    assert kernel.asked == []


def test_a_sweep_does_not_begin_again_what_ended_while_it_was_under_way() -> None:
    rules = policy()
    rules.on_event(over(5 * S))
    rules.sweep_begins()
    rules.on_event(back(5 * S, 7 * S))
    assert rules.on_sweep(sweep(6 * S, (TCP, 0, 2003), ended_ns=8 * S), Kernel().reap) == []
    rules.sweep_begins()
    assert words(rules.on_sweep(sweep(9 * S, (TCP, 0, 2003)), Kernel().reap)) == [EXCEEDED]


def test_a_sweep_does_not_begin_again_what_it_ends_in_the_other_direction() -> None:
    rules, kernel = policy(), Kernel((17, RECV))
    rules.on_event(over(5 * S))
    notices = rules.on_sweep(sweep(6 * S, (TCP, 2003, 0)), kernel.reap)
    assert [(n.event, n.direction) for n in notices] == [(CLEARED, RECV), (EXCEEDED, SEND)]
