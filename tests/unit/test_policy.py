# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""When an episode begins, is repeated and ends, in whatever order its events and the kernel's table are read."""

from __future__ import annotations

import pytest

from sockbpf.judge.policy import EARLY_KEPT_NS
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
    counted,
    event,
    over,
    policy,
    sweep,
    words,
)

# one episode


def test_an_episode_has_a_notice_when_it_begins_and_when_it_ends() -> None:
    rules = policy()
    (begun,) = rules.on_event(over(5 * S))
    (ended,) = rules.on_event(back(5 * S, 7 * S, size=401, peak=3001))
    assert (begun.event, begun.ns, begun.since_ns) == (EXCEEDED, 5 * S, 5 * S)
    assert (begun.size, begun.peak, begun.threshold) == (2003, 2003, THRESHOLD)
    assert (ended.event, ended.ns, ended.since_ns) == (CLEARED, 7 * S, 5 * S)
    assert (ended.size, ended.peak, ended.threshold) == (401, 3001, THRESHOLD)
    assert (begun.socket, begun.direction, begun.mode) == (TCP, RECV, Mode.EBPF)
    assert begun.id == ended.id
    assert counted(rules) == {}
    assert_forgotten(rules)


def test_the_two_directions_of_a_socket_are_two_episodes() -> None:
    rules = policy()
    notices = rules.on_event(over(5 * S)) + rules.on_event(over(5 * S, direction=SEND))
    assert words(notices) == [EXCEEDED, EXCEEDED]
    assert notices[0].id != notices[1].id


def test_the_size_of_exceeded_is_the_size_at_the_crossing() -> None:
    (begun,) = policy().on_table([event(What.OVER, 5 * S, 6 * S, 5003, 7001)])
    assert (begun.size, begun.peak, begun.ns) == (2003, 2003, 5 * S)


def test_an_id_tells_no_kernel_address_and_differs_between_runs() -> None:
    address = 0xFFFF888012345678
    first, second = policy(), policy(salt="another")
    (one,) = first.on_event(over(5 * S, address=address))
    (other,) = second.on_event(over(5 * S, address=address))
    assert one.id != other.id
    assert f"{address:x}" not in one.id
    assert str(address) not in one.id


@pytest.mark.parametrize(
    ("ratio", "level"), [(1.0, THRESHOLD), (0.5, CLEAR), (0.0, 0), (0.999, 1007)], ids=str
)
def test_the_clear_level_is_a_share_of_the_threshold(ratio: float, level: int) -> None:
    rules = policy(clear_ratio=ratio)
    rules.on_sweep(sweep(1 * S, (TCP, 0, THRESHOLD + 1)), Kernel().reap)
    assert words(rules.on_sweep(sweep(2 * S, (TCP, 0, level + 1)), Kernel().reap)) == []
    assert words(rules.on_sweep(sweep(3 * S, (TCP, 0, level)), Kernel().reap)) == [CLEARED]


# repeated


def test_what_goes_on_has_one_ongoing_per_interval() -> None:
    rules = policy()
    rules.on_event(over(5 * S))
    assert rules.on_time(35 * S - 1) == []
    rules.on_table([event(What.OVER, 5 * S, 33 * S, 1511, 4001)])
    (repeat,) = rules.on_time(35 * S)
    assert (repeat.event, repeat.ns, repeat.since_ns, repeat.size, repeat.peak) == (
        ONGOING,
        35 * S,
        5 * S,
        1511,
        4001,
    )
    assert rules.on_time(65 * S - 1) == []
    assert words(rules.on_time(65 * S)) == [ONGOING]


def test_what_was_missed_is_not_repeated_twice() -> None:
    rules = policy()
    rules.on_event(over(5 * S))
    assert words(rules.on_time(500 * S)) == [ONGOING]
    assert rules.on_time(500 * S + 1) == []


# owners


def test_the_owner_is_looked_for_again_while_it_goes_on_and_remembered_at_the_end() -> None:
    holders = {TCP.inode: (4001, "reader")}
    rules = policy(owner_of=lambda inode: holders.get(inode, (0, "")))
    (begun,) = rules.on_event(over(5 * S))
    holders[TCP.inode] = (4003, "child")
    (going,) = rules.on_time(40 * S)
    holders.clear()
    (still,) = rules.on_time(80 * S)
    (ended,) = rules.on_event(back(5 * S, 81 * S))
    owners = [(notice.pid, notice.comm) for notice in (begun, going, still, ended)]
    assert owners == [(4001, "reader"), (4003, "child"), (4003, "child"), (4003, "child")]


def test_an_owner_found_late_is_in_cleared() -> None:
    holders: dict[int, tuple[int, str]] = {}
    rules = policy(owner_of=lambda inode: holders.get(inode, (0, "")))
    (begun,) = rules.on_event(over(5 * S))
    holders[TCP.inode] = (4001, "reader")
    (ended,) = rules.on_event(back(5 * S, 6 * S))
    assert [(n.pid, n.comm) for n in (begun, ended)] == [(0, ""), (4001, "reader")]


def test_who_made_the_call_is_the_owner_and_nobody_is_looked_for() -> None:
    rules = policy(owner_of=lambda _: (4001, "another"))
    (begun,) = rules.on_event(over(5 * S, pid=31, comm="writer"))
    assert (begun.pid, begun.comm) == (31, "writer")


# in any order


def test_an_end_read_before_its_beginning_tells_both_in_order() -> None:
    rules = policy()
    notices = rules.on_event(back(5 * S, 7 * S, size=401, peak=3001))
    assert words(notices) == [EXCEEDED, CLEARED]
    assert [(n.ns, n.size, n.peak) for n in notices] == [(5 * S, 2003, 2003), (7 * S, 401, 3001)]
    assert notices[0].id == notices[1].id
    assert rules.on_event(over(5 * S)) == []
    assert rules._early == {}
    assert_forgotten(rules)


def test_an_early_end_is_forgotten_when_its_beginning_was_lost() -> None:
    rules = policy()
    rules.on_event(back(5 * S, 7 * S))
    rules.on_time(7 * S)
    rules.on_time(7 * S + EARLY_KEPT_NS - 1)
    assert rules._early
    rules.on_time(7 * S + EARLY_KEPT_NS)
    assert not rules._early


def test_overlapping_episodes_of_a_queue_are_told_apart() -> None:
    rules = policy()
    notices = [
        *rules.on_event(over(5 * S)),
        *rules.on_event(over(9 * S)),
        *rules.on_event(back(9 * S, 11 * S)),
        *rules.on_event(back(5 * S, 7 * S)),
    ]
    assert [(n.event, n.since_ns) for n in notices] == [
        (EXCEEDED, 5 * S), (EXCEEDED, 9 * S), (CLEARED, 9 * S), (CLEARED, 5 * S),
    ]  # fmt: skip
    assert_forgotten(rules)


def test_the_episode_that_goes_on_stays_known_when_an_older_one_is_read_after_it() -> None:
    rules = policy()
    rules.on_event(over(9 * S))
    assert words(rules.on_event(over(5 * S)) + rules.on_event(back(5 * S, 7 * S))) == [EXCEEDED, CLEARED]
    rules.sweep_begins()
    rules.on_table([over(9 * S)])
    assert rules.on_sweep(sweep(10 * S, (TCP, 0, 2003)), Kernel().reap) == []
    assert counted(rules) == {}


# the kernel's table


def test_the_table_says_nothing_new_of_what_is_known() -> None:
    rules = policy()
    rules.on_event(over(5 * S))
    assert rules.on_table([event(What.OVER, 5 * S, 6 * S, 1213, 4001)]) == []
    (episode,) = rules.open.values()
    assert (episode.ns, episode.size, episode.peak) == (6 * S, 1213, 4001)
    assert counted(rules) == {}


def test_a_beginning_read_after_the_table_is_not_exceeded_again() -> None:
    rules = policy()
    assert words(rules.on_table([over(5 * S)])) == [EXCEEDED]
    assert rules.on_event(over(5 * S)) == []
    assert words(rules.on_event(back(5 * S, 7 * S))) == [CLEARED]
    assert_forgotten(rules)


def test_a_beginning_read_after_the_table_and_the_end_is_not_exceeded_again() -> None:
    rules = policy()
    notices = [
        *rules.on_table([over(5 * S)]),
        *rules.on_event(back(5 * S, 7 * S)),
        *rules.on_event(over(5 * S)),
    ]
    assert words(notices) == [EXCEEDED, CLEARED]
    assert_forgotten(rules)


def test_a_lost_beginning_is_found_in_the_table() -> None:
    rules = policy()
    entry = event(What.OVER, 5 * S, 6 * S, 1511, 4001)
    assert words(rules.on_table([entry])) == [EXCEEDED]
    assert counted(rules) == {}  # it may be on its way
    assert rules.on_table([entry]) == []
    assert counted(rules) == {"recovered": 1}
    assert rules.on_table([entry]) == []
    (ended,) = rules.on_event(back(5 * S, 7 * S, peak=4001))
    assert (ended.event, ended.peak) == (CLEARED, 4001)
    assert counted(rules) == {"recovered": 1}
    assert_forgotten(rules)


def test_a_lost_end_is_cleared_at_the_second_look_that_misses_it() -> None:
    rules = policy()
    rules.on_event(over(5 * S))
    rules.on_table([event(What.OVER, 5 * S, 6 * S, 1511, 4001)])
    assert rules.on_table([]) == []
    (ended,) = rules.on_table([])
    assert (ended.event, ended.ns, ended.size, ended.peak) == (CLEARED, 6 * S, 0, 4001)
    assert counted(rules) == {"recovered": 1}
    assert_forgotten(rules)


def test_an_end_on_its_way_at_one_look_is_not_lost() -> None:
    rules = policy()
    rules.on_event(over(5 * S))
    assert rules.on_table([]) == []
    assert words(rules.on_event(back(5 * S, 7 * S))) == [CLEARED]
    assert rules.on_table([]) == []
    assert counted(rules) == {}


def test_an_episode_missed_at_two_looks_not_in_a_row_goes_on() -> None:
    rules = policy()
    rules.on_event(over(5 * S))
    for entries in ([], [over(5 * S)], [], [over(5 * S)]):
        assert rules.on_table(entries) == []


def test_the_table_does_not_end_what_only_sweeps_saw() -> None:
    rules = policy()
    rules.on_sweep(sweep(5 * S, (TCP, 0, 2003)), Kernel().reap)
    assert [rules.on_table([]), rules.on_table([])] == [[], []]
    assert len(rules.open) == 1
