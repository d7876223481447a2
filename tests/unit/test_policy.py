# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The rules of episodes: each true episode is told once, begun before ended, whatever order its words came in.

The tables show one rule each; the histories at the end are random: queues of several sockets over time, the
kernel's words about them spread over several rings, some of them lost, read in any order that keeps a ring's own.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.counters import NAMES, Counters
from sockbpf.judge.episodes import OwnerOf
from sockbpf.judge.levels import levels_by_direction, same_for_all
from sockbpf.judge.policy import EARLY_KEPT_NS, Policy, identity
from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Notice
from sockbpf.record.event import Direction, Event, Mode, Protocol, Socket, What
from sockbpf.record.sweep import Reading, Sweep

THRESHOLD = 1009
CLEAR = 504
"""Half the threshold, rounded down."""
S = 10**9
NETNS = 4026531840
SEND, RECV = Direction.SEND, Direction.RECV

TCP = Socket(Protocol.TCP, "192.0.2.1", 443, "192.0.2.2", 40009, NETNS, 8191)
UDP = Socket(Protocol.UDP, "0.0.0.0", 53, "0.0.0.0", 0, NETNS, 8209)


class Kernel:
    """What `reap` finds: the episodes that the kernel side still holds."""

    def __init__(self, *held: tuple[int, Direction]) -> None:
        self.held = set(held)
        self.asked: list[tuple[int, Direction]] = []

    def reap(self, address: int, direction: Direction) -> bool:
        self.asked.append((address, direction))
        if (address, direction) not in self.held:
            return False
        self.held.remove((address, direction))
        return True


def nobody(_inode: int) -> tuple[int, str]:
    return 0, ""


LEVELS: dict[str, Any] = {
    "thresholds": {SEND: THRESHOLD, RECV: THRESHOLD},
    "clear_ratio": 0.5,
    "repeat_ns": 30 * S,
    "hold_ns": 0,
}


def policy(*, owner_of: OwnerOf = nobody, salt: str = "salt", **changed: Any) -> Policy:
    return Policy(same_for_all(levels_by_direction(**(LEVELS | changed))), Counters(), salt, owner_of)


def event(what: What, since_ns: int, ns: int, size: int, peak: int = 0, **changed: Any) -> Event:
    """Return an event about the receive queue of TCP at address 17, that crossed with 2003 bytes."""
    crossed = Event(
        what=what, mode=Mode.EBPF, direction=RECV, socket=TCP, address=17, ns=ns, since_ns=since_ns, size=size,
        since_size=2003, peak=peak or max(size, 2003), threshold=THRESHOLD, pid=0, comm="",
    )  # fmt: skip
    return replace(crossed, **changed)


def over(since_ns: int, **changed: Any) -> Event:
    return event(What.OVER, since_ns, since_ns, 2003, **changed)


def back(since_ns: int, ns: int, size: int = 401, peak: int = 2003, **changed: Any) -> Event:
    return event(What.BACK, since_ns, ns, size, peak, **changed)


def sweep(
    begun_ns: int,
    *readings: tuple[Socket, int, int],
    netns: Sequence[int] = (NETNS,),
    not_found: Sequence[int] = (),
    ended_ns: int = 0,
    unsure: int = 0,
) -> Sweep:
    """Return a sweep that read these (socket, send, recv), a thousandth of a second long."""
    read = tuple(Reading(socket, {SEND: send, RECV: recv}, unsure) for socket, send, recv in readings)
    return Sweep(
        begun_ns,
        ended_ns or begun_ns + S // 1000,
        frozenset((number, protocol) for number in netns for protocol in Protocol),
        frozenset(not_found),
        read,
    )


def words(notices: list[Notice]) -> list[str]:
    return [notice.event for notice in notices]


def counted(rules: Policy) -> dict[str, int]:
    return {name: count for name, count in rules.counters.snapshot().items() if count}


def assert_forgotten(rules: Policy) -> None:
    """Nothing is open, and nothing is remembered of what was, once late words cannot come any more."""
    rules.on_time(2**62)
    assert rules.next_due_ns() is None
    assert not rules.open
    assert not rules.episodes._known
    assert not rules.episodes._ids
    assert not rules._early
    assert not rules._unheard


# one episode


def test_an_episode_is_told_when_it_begins_and_when_it_ends() -> None:
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


def test_the_size_told_at_the_beginning_is_the_size_at_the_crossing() -> None:
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


def test_what_goes_on_is_told_once_per_interval() -> None:
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


# held

HOLD = S // 4


def test_nothing_is_told_before_the_hold_has_passed() -> None:
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
def test_what_ends_while_it_is_held_is_not_told_at_all(lasted_ns: int) -> None:
    rules = policy(hold_ns=HOLD)
    assert rules.on_event(over(5 * S)) + rules.on_event(back(5 * S, 5 * S + lasted_ns)) == []
    assert counted(rules) == {"held_back": 1}
    assert rules.on_time(60 * S) == []
    assert_forgotten(rules)


@pytest.mark.parametrize("end_is_first", [True, False])
def test_what_was_over_for_long_enough_is_told_however_late_that_is_read(*, end_is_first: bool) -> None:
    rules = policy(hold_ns=HOLD)
    notices = [] if end_is_first else rules.on_event(over(5 * S))
    notices += rules.on_event(back(5 * S, 5 * S + HOLD, size=401, peak=3001))
    assert [(n.event, n.ns, n.size, n.peak) for n in notices] == [
        (EXCEEDED, 5 * S, 2003, 3001), (CLEARED, 5 * S + HOLD, 401, 3001),
    ]  # fmt: skip
    assert counted(rules) == {}
    assert_forgotten(rules)


def test_what_was_held_is_repeated_from_when_it_was_told() -> None:
    rules = policy(hold_ns=HOLD)
    rules.on_event(over(5 * S))
    assert words(rules.on_time(6 * S)) == [EXCEEDED]
    assert rules.on_time(36 * S - 1) == []
    assert words(rules.on_time(36 * S)) == [ONGOING]


def test_what_was_held_for_very_long_is_told_before_it_is_repeated() -> None:
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


def test_what_the_table_misses_is_not_told_until_its_end_is_read() -> None:
    """It is over no more; whether it was for long enough, its end will say."""
    rules = policy(hold_ns=HOLD)
    rules.on_event(over(5 * S))
    rules.on_table([])
    assert rules.on_time(6 * S) == []
    assert rules.next_due_ns() is None
    assert rules.on_event(back(5 * S, 5 * S + HOLD - 1)) == []
    assert counted(rules) == {"held_back": 1}
    assert_forgotten(rules)


def test_what_the_table_misses_and_holds_again_is_told_once() -> None:
    rules = policy(hold_ns=HOLD)
    rules.on_event(over(5 * S))
    for entries in ([], [over(5 * S)], [], [over(5 * S)]):
        rules.on_table(entries)
    assert words(rules.on_time(5 * S + HOLD)) == [EXCEEDED]
    assert rules.on_time(6 * S) == []


def test_what_the_table_missed_when_it_was_due_is_told_when_it_is_found() -> None:
    """A look can skip an entry while its neighbours change."""
    rules = policy(hold_ns=HOLD)
    rules.on_event(over(5 * S))
    rules.on_table([])
    assert rules.on_time(5 * S + HOLD) == []
    rules.on_table([event(What.OVER, 5 * S, 6 * S, 1511, 4001)])
    assert rules.next_due_ns() == 5 * S + HOLD
    (begun,) = rules.on_time(7 * S)
    assert (begun.event, begun.ns, begun.size) == (EXCEEDED, 5 * S, 1511)


def test_a_held_episode_whose_end_is_lost_is_told_if_it_is_known_to_have_lasted() -> None:
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


def test_many_that_were_told_leave_nothing_behind() -> None:
    rules = policy()
    for number in range(1009):
        rules.on_event(over(5 * S + number))
        rules.on_event(back(5 * S + number, 5 * S + number + 1))
        assert len(rules.episodes._repeats) < 100


# other rules while it runs


def changed(rules: Policy, **other: Any) -> None:
    rules.use_levels(same_for_all(levels_by_direction(**(LEVELS | other))))


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


def test_what_was_told_is_not_held_by_new_rules() -> None:
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


def test_an_owner_found_late_is_told_at_the_end() -> None:
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


def test_a_beginning_read_after_the_table_is_not_told_again() -> None:
    rules = policy()
    assert words(rules.on_table([over(5 * S)])) == [EXCEEDED]
    assert rules.on_event(over(5 * S)) == []
    assert words(rules.on_event(back(5 * S, 7 * S))) == [CLEARED]
    assert_forgotten(rules)


def test_a_beginning_read_after_the_table_and_the_end_is_not_told_again() -> None:
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


def test_a_lost_end_is_told_at_the_second_look_that_misses_it() -> None:
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
        same_for_all(levels_by_direction(**LEVELS)), Counters(), "salt", nobody, lambda inode: held[inode]
    )
    rules.on_event(over(5 * S))
    kernel = Kernel((17, RECV))
    for begun_ns in (6, 7, 8):
        assert rules.on_sweep(sweep(begun_ns * S, netns=(), not_found=(NETNS,)), kernel.reap) == []
    held[TCP.inode] = False
    told = [rules.on_sweep(sweep(n * S, netns=(), not_found=(NETNS,)), kernel.reap) for n in (9, 10)]
    assert words(told[0] + told[1]) == [CLEARED]


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


# who a socket is


def test_a_tcp_orphan_is_found_without_its_inode() -> None:
    rules, kernel = policy(), Kernel((17, SEND))
    rules.on_event(over(5 * S, direction=SEND))
    orphan = replace(TCP, inode=0)
    for begun_ns in (6, 7, 8):
        assert rules.on_sweep(sweep(begun_ns * S, (orphan, 2003, 0)), kernel.reap) == []
    assert words(rules.on_sweep(sweep(9 * S, (orphan, CLEAR, 0)), kernel.reap)) == [CLEARED]
    assert counted(rules) == {"ended_by_sweep": 1}


def test_the_inode_of_a_socket_accepted_late_is_learned_from_a_sweep() -> None:
    rules = policy(owner_of=lambda inode: (4001, "server") if inode == TCP.inode else (0, ""))
    (begun,) = rules.on_event(over(5 * S, socket=replace(TCP, inode=0)))
    assert rules.on_sweep(sweep(6 * S, (TCP, 0, 2003)), Kernel().reap) == []
    (ended,) = rules.on_event(back(5 * S, 7 * S, socket=replace(TCP, inode=0)))
    assert [(n.socket.inode, n.pid) for n in (begun, ended)] == [(0, 0), (TCP.inode, 4001)]
    assert_forgotten(rules)


def test_a_udp_socket_connected_later_is_the_same() -> None:
    rules = policy()
    rules.on_event(over(5 * S, socket=UDP))
    connected = replace(UDP, local_ip="192.0.2.1", remote_ip="192.0.2.9", remote_port=4099)
    for begun_ns in (6, 7, 8):
        assert rules.on_sweep(sweep(begun_ns * S, (connected, 0, 2003)), Kernel().reap) == []
    assert counted(rules) == {}


def test_udp_sockets_that_share_an_address_are_told_apart() -> None:
    rules = policy()
    twin = replace(UDP, inode=UDP.inode + 2)
    notices = rules.on_sweep(sweep(5 * S, (UDP, 0, 2003), (twin, 0, 3001)), Kernel().reap)
    assert [(n.event, n.socket.inode, n.size) for n in notices] == [
        (EXCEEDED, UDP.inode, 2003), (EXCEEDED, twin.inode, 3001),
    ]  # fmt: skip
    ended = rules.on_sweep(sweep(6 * S, (UDP, 0, 2003), (twin, 0, 0)), Kernel().reap)
    assert [(n.event, n.socket.inode) for n in ended] == [(CLEARED, twin.inode)]


@pytest.mark.parametrize(
    "other",
    [
        replace(TCP, netns=NETNS + 1),
        replace(TCP, remote_port=40011),
        replace(TCP, protocol=Protocol.UDP),
        replace(TCP, local_ip="::ffff:192.0.2.1"),
    ],
    ids=["netns", "port", "protocol", "v4-mapped"],
)
def test_other_sockets_are_others(other: Socket) -> None:
    assert identity(other) != identity(TCP)


# random histories

RINGS, QUEUES = 3, 4
PEER = replace(TCP, local_port=8443, inode=8219)
HISTORIES = ((TCP, RECV, 17), (TCP, SEND, 17), (UDP, RECV, 19), (PEER, RECV, 23))
"""The queues of a history: socket, direction, address."""


@dataclass
class Truth:
    """One true episode, how far its words came, and what may be known of its peak."""

    queue: int
    since_ns: int
    since_size: int
    size: int
    peak: int
    ns: int
    ended: bool = False
    back: Event | None = None
    """Its BACK, once that was read."""
    known: bool = False
    unheard: bool = False
    """Known from the table alone, since the last look."""
    known_peak: int = 0
    known_ns: int = 0
    misses: int = 0
    """Looks that did not find it, while it was taken for open."""

    def event(self, what: What) -> Event:
        socket, direction, address = HISTORIES[self.queue]
        return Event(
            what, Mode.EBPF, direction, socket, address, self.ns, self.since_ns, self.size, self.since_size,
            self.peak, THRESHOLD, 0, "",
        )  # fmt: skip


@dataclass
class Model:
    """The kernel side, its rings, and the reader before the policy."""

    policy: Policy = field(default_factory=policy)
    now_ns: int = S
    truths: list[Truth] = field(default_factory=list)
    table: dict[int, Truth] = field(default_factory=dict)
    rings: list[list[tuple[Event, Truth]]] = field(default_factory=lambda: [[] for _ in range(RINGS)])
    notices: list[Notice] = field(default_factory=list)
    recovered: int = 0

    def change(self, queue: int, size: int, ring: int, *, lost: bool) -> None:
        """Let a queue have a size, as bpf/episode.h judges it."""
        self.now_ns += 1009
        truth = self.table.get(queue)
        if truth:
            truth.size, truth.peak, truth.ns = size, max(truth.peak, size), self.now_ns
            if size > CLEAR:
                return
            truth.ended = True
            del self.table[queue]
            word = truth.event(What.BACK)
        elif size > THRESHOLD:
            truth = self.table[queue] = Truth(queue, self.now_ns, size, size, size, self.now_ns)
            self.truths.append(truth)
            word = truth.event(What.OVER)
        else:
            return
        if not lost:
            self.rings[ring].append((word, truth))

    def read(self, ring: int, most: int) -> None:
        """Read at most so many events of a ring."""
        taken, self.rings[ring] = self.rings[ring][:most], self.rings[ring][most:]
        for word, truth in taken:
            truth.known, truth.unheard = True, False
            truth.known_peak = max(truth.known_peak, word.peak)
            if word.what is What.BACK:
                truth.back = word
            elif not truth.known_ns:
                truth.known_ns = word.ns
            self.notices += self.policy.on_event(word)

    def read_all(self) -> None:
        for ring in range(RINGS):
            self.read(ring, len(self.rings[ring]))

    def look(self) -> None:
        """Take the table, which may have changed since the rings were read."""
        for truth in self.truths:
            self.recovered += truth.unheard
            truth.unheard = False
            if not truth.ended:
                truth.unheard = not truth.known
                truth.known = True
                truth.known_peak, truth.known_ns = truth.peak, truth.ns
            elif truth.known and not truth.back:
                truth.misses += 1
                self.recovered += truth.misses == 2
        self.notices += self.policy.on_table([truth.event(What.OVER) for truth in self.table.values()])

    def assert_books(self) -> None:
        """Assert that each open episode is known by its queue, and nothing else is."""
        books = Counter((identity(e.socket), e.direction) for e in self.policy.open.values())
        assert self.policy.episodes._known == books
        assert self.policy.episodes._ids == {episode.id for episode in self.policy.open.values()}


QUEUE = st.integers(0, QUEUES - 1)
SIZE = st.sampled_from([0, 1, CLEAR, CLEAR + 1, THRESHOLD, THRESHOLD + 1, 2003, 4001])
RING = st.integers(0, RINGS - 1)


def steps(loss: st.SearchStrategy[bool]) -> st.SearchStrategy[list[tuple[object, ...]]]:
    change = st.tuples(st.just("change"), QUEUE, SIZE, RING, loss)
    read = st.tuples(st.just("read"), RING, st.integers(1, 4))
    look = st.tuples(st.just("look"), st.lists(change, max_size=4))
    return st.lists(st.one_of(change, change, change, read, look), max_size=60)


def play(model: Model, history: list[tuple[object, ...]]) -> None:
    for name, *rest in history:
        if name == "change":
            queue, size, ring, lost = rest
            model.change(queue, size, ring, lost=lost)  # type: ignore[arg-type]
        elif name == "read":
            model.read(*rest)  # type: ignore[arg-type]
        else:  # as the monitor does: the rings, then the table, and the kernel does not wait in between
            model.read_all()
            play(model, rest[0])  # type: ignore[arg-type]
            model.look()
        model.assert_books()


def finish(model: Model) -> None:
    """Empty every queue, read all that was not lost, look until what was lost must have been found."""
    for queue in range(QUEUES):
        model.change(queue, 0, queue % RINGS, lost=False)
    for _ in range(3):
        model.read_all()
        model.look()


def assert_told_once(model: Model) -> None:
    by_episode: dict[tuple[object, ...], list[Notice]] = {}
    for notice in model.notices:
        by_episode.setdefault((notice.socket, notice.direction, notice.since_ns), []).append(notice)
    known = [truth for truth in model.truths if truth.known]
    assert len(by_episode) == len(known)
    for truth in known:
        socket, direction, _ = HISTORIES[truth.queue]
        begun, ended = by_episode[socket, direction, truth.since_ns]
        assert (begun.event, begun.ns, begun.size, begun.peak) == (
            EXCEEDED, truth.since_ns, truth.since_size, truth.since_size,
        )  # fmt: skip
        assert (ended.event, ended.id) == (CLEARED, begun.id)
        if truth.back:
            assert (ended.ns, ended.size, ended.peak) == (truth.back.ns, truth.back.size, truth.peak)
        else:
            assert (ended.ns, ended.size, ended.peak) == (truth.known_ns, 0, truth.known_peak)
    assert max(Counter(notice.id for notice in model.notices).values(), default=2) == 2


@settings(max_examples=150, deadline=None)
@given(steps(st.just(value=False)))
def test_without_loss_every_true_episode_is_told_once(history: list[tuple[object, ...]]) -> None:
    model = Model()
    play(model, history)
    finish(model)
    assert all(truth.known for truth in model.truths)
    assert all(truth.back for truth in model.truths)
    assert_told_once(model)
    assert counted(model.policy) == {}
    assert_forgotten(model.policy)


@settings(max_examples=150, deadline=None)
@given(steps(st.booleans()))
def test_with_loss_every_episode_heard_of_is_told_once(history: list[tuple[object, ...]]) -> None:
    model = Model()
    play(model, history)
    finish(model)
    assert_told_once(model)
    assert counted(model.policy) == ({"recovered": model.recovered} if model.recovered else {})
    assert_forgotten(model.policy)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.lists(
            st.sampled_from([0, CLEAR, CLEAR + 1, THRESHOLD, THRESHOLD + 1, 2003]), min_size=4, max_size=4
        )
    )
)
def test_sweeps_alone_tell_what_they_saw(looks: list[list[int]]) -> None:
    rules = policy()
    notices: list[Notice] = []
    open_: dict[int, int] = {}
    begun = ended = 0
    for number, sizes in enumerate([*looks, [0] * QUEUES], start=1):
        readings: dict[Socket, dict[Direction, int]] = {}
        for queue, size in enumerate(sizes):
            socket, direction, _ = HISTORIES[queue]
            readings.setdefault(socket, {SEND: 0, RECV: 0})[direction] = size
            if queue in open_:
                open_[queue] = max(open_[queue], size)
                if size <= CLEAR:
                    del open_[queue]
                    ended += 1
            elif size > THRESHOLD:
                open_[queue] = size
                begun += 1
        rules.sweep_begins()
        read = tuple(Reading(socket, directions) for socket, directions in readings.items())
        taken = Sweep(
            number * S,
            number * S + 1009,
            frozenset((NETNS, protocol) for protocol in Protocol),
            frozenset(),
            read,
        )
        notices += rules.on_sweep(taken, Kernel().reap)
        peaks = {(episode.socket, episode.direction): episode.peak for episode in rules.open.values()}
        assert peaks == {HISTORIES[queue][:2]: peak for queue, peak in open_.items()}
    counts = rules.counters.snapshot()
    assert begun == ended
    assert counts == dict.fromkeys(NAMES, 0) | {"begun_by_sweep": begun, "ended_by_sweep": ended}
    assert words(notices).count(EXCEEDED) == words(notices).count(CLEARED) == begun
    assert len({notice.id for notice in notices}) == begun
    assert_forgotten(rules)


@dataclass
class Loop(Model):
    """The model, and the monitor's loop: the time is taken before all that was said until then is read."""

    def tick(self, history: list[tuple[object, ...]]) -> None:
        now_ns = self.now_ns
        play(self, history)  # the kernel does not wait
        self.read_all()
        self.look()
        self.notices += self.policy.on_time(now_ns)
        due_ns = self.policy.next_due_ns()
        assert due_ns is None or due_ns > now_ns
        held = {e.hold_ends_ns for e in self.policy.open.values() if e.held and not e.missed}
        assert due_ns == min(held, default=None)

    def wake(self) -> None:
        """Sleep until something is due, and a moment too short before."""
        due_ns = self.policy.next_due_ns()
        if due_ns is None:
            return
        if due_ns > self.now_ns:
            assert self.policy.on_time(due_ns - 1) == []
            self.now_ns = due_ns
        self.tick([])


def held_steps() -> st.SearchStrategy[list[tuple[object, ...]]]:
    change = st.tuples(st.just("change"), QUEUE, SIZE, RING, st.booleans())
    read = st.tuples(st.just("read"), RING, st.integers(1, 4))
    tick = st.tuples(st.just("tick"), st.lists(change, max_size=4))
    return st.lists(st.one_of(change, change, change, read, tick, st.just(("wake",))), max_size=60)


@settings(max_examples=150, deadline=None)
@given(
    history=held_steps(),
    hold_ns=st.sampled_from([1, 1009, 1010, 3 * 1009, 10**5]),
    some_are_lost=st.booleans(),
)
def test_what_is_held_is_told_if_and_only_if_it_lasted(
    history: list[tuple[Any, ...]], hold_ns: int, *, some_are_lost: bool
) -> None:
    model = Loop(policy(hold_ns=hold_ns))
    for name, *rest in history:
        if name == "change":
            model.change(*rest[:3], lost=some_are_lost and rest[3])
        elif name == "read":
            model.read(*rest)
        elif name == "tick":
            model.tick([(*step[:4], some_are_lost and step[4]) for step in rest[0]])
        else:
            model.wake()
        model.assert_books()
        known = len(model.notices) - 2 * len({n.id for n in model.notices if n.event == CLEARED})
        assert known == sum(not episode.held for episode in model.policy.open.values())
    finish(model)
    by_episode: dict[tuple[object, ...], list[str]] = {}
    for notice in model.notices:
        by_episode.setdefault((notice.socket, notice.direction, notice.since_ns), []).append(notice.event)
    assert all(events == [EXCEEDED, CLEARED] for events in by_episode.values())
    lasted: dict[tuple[object, ...], int] = {
        (*HISTORIES[truth.queue][:2], truth.since_ns): truth.ns - truth.since_ns for truth in model.truths
    }
    assert all(lasted[truth] >= hold_ns for truth in by_episode)
    if not some_are_lost:
        assert by_episode.keys() == {truth for truth, ns in lasted.items() if ns >= hold_ns}
    known = sum(truth.known for truth in model.truths)
    assert counted(model.policy).get("held_back", 0) == known - len(by_episode)
    assert_forgotten(model.policy)
