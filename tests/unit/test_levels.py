# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Levels that differ from socket to socket: each episode goes by its own, whatever the others next to it go by."""

from __future__ import annotations

import os
from dataclasses import dataclass, field, fields, replace
from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.counters import Counters
from sockbpf.judge.episodes import Episode
from sockbpf.judge.levels import Levels, LevelsOf, levels_by_direction, same_for_all
from sockbpf.judge.policy import Policy
from sockbpf.monitor.terms import kernel_levels_of, levels_of
from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Notice, socket_of
from sockbpf.record.event import Direction, Event, Mode, Protocol, Socket, What
from sockbpf.record.sweep import Reading, Sweep
from sockbpf.settings.config import Config

S = 10**9
NETNS = 4026531840
SEND, RECV = Direction.SEND, Direction.RECV
TCP = Socket(Protocol.TCP, "192.0.2.1", 443, "192.0.2.2", 40009, NETNS, 8191)
EAGER, PATIENT = TCP, replace(TCP, local_port=8443, inode=8209)
"""Two sockets; the first one's episodes are alerts at once and often, the other's late and rarely."""

AT_ONCE = Levels(threshold=1009, clear=504, hold_ns=0, repeat_ns=5 * S)
LATER = Levels(threshold=2003, clear=2000, hold_ns=S, repeat_ns=60 * S)


def by_socket(levels: dict[Socket, Levels]) -> LevelsOf:
    return lambda socket, _direction: levels[socket]


def policy(levels_of: LevelsOf) -> Policy:
    return Policy(levels_of, Counters(), "salt", lambda _inode: (0, ""))


def two() -> Policy:
    return policy(by_socket({EAGER: AT_ONCE, PATIENT: LATER}))


def word(what: What, socket: Socket, since_ns: int, ns: int) -> Event:
    return Event(
        what=what, mode=Mode.EBPF, direction=RECV, socket=socket, address=socket.inode, ns=ns, since_ns=since_ns,
        size=3001, since_size=3001, peak=3001, threshold=1009, pid=0, comm="",
    )  # fmt: skip


def over(socket: Socket, since_ns: int) -> Event:
    return word(What.OVER, socket, since_ns, since_ns)


def back(socket: Socket, since_ns: int, ns: int) -> Event:
    return word(What.BACK, socket, since_ns, ns)


def swept(begun_ns: int, sizes: dict[Socket, int]) -> Sweep:
    return Sweep(
        begun_ns,
        begun_ns + S // 1000,
        frozenset((NETNS, protocol) for protocol in Protocol),
        frozenset(),
        tuple(Reading(socket, {SEND: 0, RECV: size}) for socket, size in sizes.items()),
    )


def said(notices: list[Notice]) -> list[tuple[str, int]]:
    return [(notice.event, socket_of(notice).local_port) for notice in notices]


def no_reap(_address: int, _direction: Direction) -> bool:
    return False


@pytest.mark.parametrize("first", [EAGER, PATIENT])
def test_two_holds_and_two_repeats_side_by_side(first: Socket) -> None:
    rules = two()
    second = PATIENT if first is EAGER else EAGER
    announced = [
        (10, *one) for one in said(rules.on_event(over(first, 10 * S)) + rules.on_event(over(second, 10 * S)))
    ]
    for second_number in range(11, 72):
        announced += [(second_number, *one) for one in said(rules.on_time(second_number * S))]
    eager = [(10, EXCEEDED, 443), *((at, ONGOING, 443) for at in range(15, 72, 5))]
    patient = [(11, EXCEEDED, 8443), (71, ONGOING, 8443)]
    assert announced == sorted(eager + patient, key=lambda one: one[0])


def test_a_short_hold_is_due_before_a_longer_one_that_began_earlier() -> None:
    long_, short = replace(LATER, hold_ns=10 * S), replace(LATER, hold_ns=S)
    rules = policy(by_socket({EAGER: short, PATIENT: long_}))
    rules.on_event(over(PATIENT, 5 * S))
    assert rules.next_due_ns() == 15 * S
    rules.on_event(over(EAGER, 6 * S))
    assert rules.next_due_ns() == 7 * S
    assert said(rules.on_time(7 * S)) == [(EXCEEDED, 443)]
    assert rules.next_due_ns() == 15 * S
    assert said(rules.on_time(15 * S)) == [(EXCEEDED, 8443)]


def test_what_is_due_comes_in_the_order_in_which_it_became_due() -> None:
    rules = policy(by_socket({EAGER: replace(LATER, hold_ns=S), PATIENT: replace(LATER, hold_ns=10 * S)}))
    rules.on_event(over(PATIENT, 5 * S))
    rules.on_event(over(EAGER, 6 * S))
    assert said(rules.on_time(16 * S)) == [(EXCEEDED, 443), (EXCEEDED, 8443)]


def test_an_end_is_judged_by_the_hold_of_its_own_episode() -> None:
    rules = two()
    announced = rules.on_event(over(EAGER, 5 * S)) + rules.on_event(over(PATIENT, 5 * S))
    announced += rules.on_event(back(PATIENT, 5 * S, 6 * S - 1)) + rules.on_event(
        back(EAGER, 5 * S, 6 * S - 1)
    )
    assert said(announced) == [(EXCEEDED, 443), (CLEARED, 443)]
    assert rules.counters.snapshot()["held_back"] == 1


def test_a_sweep_finds_each_socket_over_and_back_by_its_own_levels() -> None:
    rules = two()
    first = rules.on_sweep(swept(5 * S, {EAGER: 1010, PATIENT: 2003}), no_reap)
    assert [(notice.socket, notice.threshold) for notice in first] == [(EAGER, 1009)]
    rules.on_sweep(swept(6 * S, {EAGER: 1010, PATIENT: 2004}), no_reap)
    assert said(rules.on_time(7 * S)) == [(EXCEEDED, 8443)]
    assert said(rules.on_sweep(swept(8 * S, {EAGER: 2000, PATIENT: 2000}), no_reap)) == [(CLEARED, 8443)]
    assert said(rules.on_sweep(swept(9 * S, {EAGER: 504, PATIENT: 2000}), no_reap)) == [(CLEARED, 443)]


def test_what_is_open_goes_by_new_levels_and_keeps_the_threshold_it_crossed() -> None:
    rules = two()
    rules.on_event(over(EAGER, 5 * S))
    rules.on_event(over(PATIENT, 5 * S))
    rules.use_levels(
        by_socket({EAGER: replace(AT_ONCE, repeat_ns=7 * S), PATIENT: replace(LATER, hold_ns=3 * S)})
    )
    assert {episode.threshold for episode in rules.open.values()} == {1009}
    assert rules.next_due_ns() == 8 * S
    assert rules.on_time(8 * S - 1) == []
    assert said(rules.on_time(8 * S)) == [(EXCEEDED, 8443)]
    assert rules.on_time(12 * S - 1) == []
    assert said(rules.on_time(12 * S)) == [(ONGOING, 443)]
    rules.use_levels(by_socket({EAGER: AT_ONCE, PATIENT: replace(LATER, repeat_ns=2 * S)}))
    assert said(rules.on_time(17 * S)) == [(ONGOING, 8443), (ONGOING, 443)]


def test_what_was_open_and_has_ended_has_no_notice_by_new_levels() -> None:
    rules = two()
    for socket in (EAGER, PATIENT):
        rules.on_event(over(socket, 5 * S))
        rules.on_event(back(socket, 5 * S, 5 * S + 1))
    rules.use_levels(by_socket({EAGER: AT_ONCE, PATIENT: AT_ONCE}))
    assert rules.on_time(500 * S) == []
    assert rules.next_due_ns() is None


def test_an_episode_keeps_a_reference_and_no_levels_of_its_own() -> None:
    levels = levels_by_direction({SEND: 1009, RECV: 1009}, clear_ratio=0.5, hold_ns=0, repeat_ns=S)
    rules = policy(same_for_all(levels))
    for socket in (EAGER, PATIENT):
        rules.on_event(over(socket, 5 * S))
    one, other = rules.open.values()
    assert one.levels is other.levels
    assert "levels" in {each.name for each in fields(Episode)}
    assert not hasattr(one, "__dict__")
    assert not hasattr(one.levels, "__dict__")


@pytest.mark.parametrize(
    ("threshold", "ratio", "clear"),
    [
        (1009, 0.5, 504),
        (2003, 0.8, 1602),
        (1_048_573, 0.7, 734_001),
        (100, 0.29, 28),
        (1, 0.999, 0),
        (4001, 1, 4001),
    ],
)
def test_the_clear_level_is_rounded_down(threshold: int, ratio: float, clear: int) -> None:
    """As a product of floats is: 100 * 0.29 is 28.999999999999996."""
    levels = levels_by_direction({SEND: threshold, RECV: 7}, clear_ratio=ratio, hold_ns=0, repeat_ns=S)
    assert levels[SEND].clear == clear


SIZE = st.integers(0, 2**31 - 1)


@settings(deadline=None)
@given(send=SIZE, recv=SIZE, ratio=st.decimals(0, 1, places=3))
def test_the_kernel_side_compares_with_the_judges_levels(send: int, recv: int, ratio: Decimal) -> None:
    config = Config.model_validate(
        {"url": "http://192.0.2.1/", "thresholds": {"send": send, "recv": recv}, "clear_ratio": str(ratio)}
    )
    judged = [levels_of(config)(TCP, direction) for direction in (SEND, RECV)]
    kernel = kernel_levels_of(config)
    assert [*zip(kernel.threshold, kernel.clear, strict=True)] == [
        (one.threshold, one.clear) for one in judged
    ]
    assert kernel.threshold == (send, recv)
    assert kernel.own_pid == os.getpid()


# random histories, compared with books that are looked through from end to end

SOCKETS = [replace(TCP, local_port=1000 + number, inode=9000 + number) for number in range(4)]
SPANS = [1, 1009, 5_000, 60_000]


@dataclass
class Books:
    """What the policy is to tell, worked out without a heap."""

    levels: dict[Socket, Levels]
    since: dict[Socket, int] = field(default_factory=dict)
    last_alert_ns: dict[Socket, int] = field(default_factory=dict)

    def due(self, now_ns: int) -> set[tuple[str, int]]:
        said: set[tuple[str, int]] = set()
        for socket, since_ns in self.since.items():
            levels = self.levels[socket]
            if socket not in self.last_alert_ns:
                if now_ns >= since_ns + levels.hold_ns:
                    said.add((EXCEEDED, socket.local_port))
                    self.last_alert_ns[socket] = now_ns
            elif now_ns >= self.last_alert_ns[socket] + levels.repeat_ns:
                said.add((ONGOING, socket.local_port))
                self.last_alert_ns[socket] = now_ns
        return said

    def next_hold_ns(self) -> int | None:
        waiting = [
            s + self.levels[who].hold_ns for who, s in self.since.items() if who not in self.last_alert_ns
        ]
        return min(waiting, default=None)


LEVELS = st.builds(
    Levels,
    threshold=st.just(1009),
    clear=st.just(504),
    hold_ns=st.sampled_from([0, *SPANS]),
    repeat_ns=st.sampled_from(SPANS),
)
EACH = st.lists(LEVELS, min_size=len(SOCKETS), max_size=len(SOCKETS))
WHO = st.sampled_from(SOCKETS)
STEP = st.one_of(
    st.tuples(st.just("cross"), WHO),
    st.tuples(st.just("cross"), WHO),
    st.tuples(st.just("wait"), st.integers(1, 20_000)),
    st.tuples(st.just("wake"), st.none()),
    st.tuples(st.just("use_levels"), EACH),
)


@settings(max_examples=400, deadline=None)
@given(first=EACH, history=st.lists(STEP, max_size=60))
def test_each_has_notices_when_its_own_levels_say(
    first: list[Levels], history: list[tuple[str, Socket | int | list[Levels] | None]]
) -> None:
    books = Books(dict(zip(SOCKETS, first, strict=True)))
    rules = policy(lambda socket, _direction: books.levels[socket])
    now_ns = S
    for name, what in history:
        if name == "cross" and isinstance(what, Socket):
            now_ns += 1
            cross(rules, books, what, now_ns)
        elif name == "wait" and isinstance(what, int):
            now_ns += what
        elif name == "wake":
            now_ns = max(now_ns, rules.next_due_ns() or 0)
        elif isinstance(what, list):
            books.levels = dict(zip(SOCKETS, what, strict=True))
            rules.use_levels(lambda socket, _direction: books.levels[socket])
        assert rules.next_due_ns() == books.next_hold_ns()
        if name in {"wait", "wake"}:
            assert sorted(said(rules.on_time(now_ns))) == sorted(books.due(now_ns))


def cross(rules: Policy, books: Books, socket: Socket, now_ns: int) -> None:
    """Let a queue go over, or back if it is over, and compare the notices."""
    levels, port = books.levels[socket], socket.local_port
    since_ns = books.since.get(socket)
    if since_ns is None:
        books.since[socket] = now_ns
        if not levels.hold_ns:
            books.last_alert_ns[socket] = now_ns
        expected = [] if levels.hold_ns else [(EXCEEDED, port)]
        assert said(rules.on_event(over(socket, now_ns))) == expected
        return
    was_announced = books.last_alert_ns.pop(socket, None) is not None
    lasted = now_ns >= since_ns + levels.hold_ns
    del books.since[socket]
    expected = [(CLEARED, port)] if was_announced else [(EXCEEDED, port), (CLEARED, port)] if lasted else []
    assert said(rules.on_event(back(socket, since_ns, now_ns))) == expected
