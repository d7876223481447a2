# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Folding: the first few are told singly, the rest together, and all of them are accounted for.

Single rules first; then random storms of several services, with a clock that stops where the loop would wake.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.counters import Counters
from sockbpf.judge.fold import FORGET_NS, WORST, Fold
from sockbpf.judge.levels import levels_by_direction, same_for_all
from sockbpf.judge.policy import Policy
from sockbpf.record.alert import CLEARED, EVENTS, EXCEEDED, ONGOING, Folded, Notice
from sockbpf.record.event import Direction, Event, Mode, Protocol, Socket, What

S = 10**9
ABOVE = 3
THRESHOLD = 1009
SEND, RECV = Direction.SEND, Direction.RECV
TCP = Socket(Protocol.TCP, "192.0.2.1", 443, "192.0.2.2", 40009, 4026531840, 8191)


def fold(above: int = ABOVE, window_ns: int = S) -> Fold:
    return Fold(above, window_ns, counters=Counters(), is_open=lambda _: True)


def notice(number: int, ns: int, event: str = EXCEEDED, **changed: Any) -> Notice:
    """Return a notice of the episode of this number, whose socket has a remote port of 40000 and that."""
    made = Notice(
        event=event, id=f"id-{number}", ns=ns, since_ns=ns, socket=replace(TCP, remote_port=40000 + number),
        direction=RECV, mode=Mode.EBPF, size=2000 + number, peak=3000 + number, threshold=THRESHOLD, pid=4003,
        comm="reader",
    )  # fmt: skip
    return replace(made, **changed)


def crossings(*numbers: int, ns: int = 5 * S) -> list[Notice]:
    return [notice(number, ns) for number in numbers]


def folded(passed_on: list[Notice | Folded]) -> list[Folded]:
    assert all(isinstance(one, Folded) for one in passed_on)
    return [one for one in passed_on if isinstance(one, Folded)]


def said(passed_on: list[Notice | Folded]) -> list[tuple[str, int]]:
    """Return event and count of each, 0 for what is told singly."""
    return [(one.notice.event, one.count) if isinstance(one, Folded) else (one.event, 0) for one in passed_on]


def assert_forgotten(stage: Fold, now_ns: int) -> None:
    """Nothing waits, and nothing is remembered once the window has passed."""
    assert stage.on_time(now_ns) == []
    assert stage.next_due_ns() is None
    assert stage.flush() == []
    assert not stage._storms
    assert not stage._crossings
    assert not stage._collected


def test_above_0_everything_passes_untouched() -> None:
    stage = fold(above=0)
    noticed = [notice(n, 5 * S, event) for n in range(17) for event in EVENTS]
    passed_on = stage.on_notices(noticed, 5 * S)
    assert [id(one) for one in passed_on] == [id(one) for one in noticed]
    assert stage.next_due_ns() is None
    assert_forgotten(stage, 5 * S)


@pytest.mark.parametrize("above", [1, 2, 3, 7])
def test_the_first_are_told_at_once_and_the_rest_when_the_window_has_passed(above: int) -> None:
    stage = fold(above)
    assert stage.on_notices(crossings(*range(above)), 5 * S) == crossings(*range(above))
    assert stage.next_due_ns() is None
    assert stage.on_notices(crossings(*range(100, 111), ns=5 * S + 7), 5 * S + 7) == []
    assert stage.on_notices(crossings(*range(200, 213), ns=6 * S), 6 * S) == []
    assert stage.next_due_ns() == 6 * S + 7
    assert stage.on_time(6 * S + 6) == []
    assert said(stage.on_time(6 * S + 7)) == [(EXCEEDED, 24)]
    assert stage.next_due_ns() is None
    assert stage._counters.snapshot()["folded"] == 24


def test_what_is_told_together_is_told_by_its_worst() -> None:
    stage = fold(above=1)
    stage.on_notices(crossings(0), 5 * S)
    sizes = [2003, 5003, 2011, 7001, 2017, 5003, 2027, 9001]
    for number, size in enumerate(sizes, start=1):
        stage.on_notices([notice(number, 5 * S + number, size=size, peak=size + 1)], 5 * S + 9)
    (one,) = folded(stage.on_time(7 * S))
    assert one.count == len(sizes)
    assert [(socket.remote_port, size) for socket, size in one.worst] == [
        (40008, 9001), (40004, 7001), (40002, 5003), (40006, 5003), (40007, 2027),
    ]  # fmt: skip
    assert (one.notice.size, one.notice.peak, one.notice.threshold) == (9001, 9002, THRESHOLD)
    assert (one.notice.ns, one.notice.since_ns) == (5 * S + 1, 5 * S + 1)
    assert one.notice.id not in {f"id-{number}" for number in range(9)}
    assert (one.notice.pid, one.notice.comm) == (0, "")
    assert (one.notice.socket.local_port, one.notice.direction) == (443, RECV)


def test_what_comes_later_of_a_fold_is_told_with_its_id() -> None:
    stage = fold(above=1)
    (single,) = stage.on_notices(crossings(0), 5 * S)
    stage.on_notices(crossings(1, 2, 3), 5 * S)
    (begun,) = folded(stage.on_time(6 * S))
    assert stage.on_notices([notice(n, 36 * S, ONGOING, since_ns=5 * S) for n in (1, 2)], 36 * S) == []
    assert stage.on_notices([notice(3, 36 * S + 7, ONGOING, since_ns=5 * S)], 36 * S + 7) == []
    assert stage.on_notices([notice(1, 36 * S + 9, CLEARED, since_ns=5 * S)], 36 * S + 9) == []
    going, ended = folded(stage.on_time(37 * S))
    assert (going.notice.event, going.count, going.notice.ns) == (ONGOING, 3, 36 * S + 7)
    assert (ended.notice.event, ended.count, ended.notice.ns) == (CLEARED, 1, 36 * S + 9)
    stage.on_notices([notice(n, 40 * S, CLEARED, since_ns=5 * S) for n in (2, 3)], 40 * S)
    (rest,) = folded(stage.on_time(41 * S))
    assert (rest.notice.event, rest.count) == (CLEARED, 2)
    assert {one.notice.id for one in (going, ended, rest)} == {begun.notice.id}
    assert {one.notice.since_ns for one in (begun, going, ended, rest)} == {5 * S}
    assert isinstance(single, Notice)
    (last,) = stage.on_notices([notice(0, 42 * S, CLEARED)], 42 * S)
    assert isinstance(last, Notice)
    assert_forgotten(stage, 50 * S)


def test_services_are_folded_apart() -> None:
    stage = fold(above=1)
    others: list[dict[str, Any]] = [
        {},
        {"direction": SEND},
        {"socket": replace(TCP, local_port=8443)},
        {"socket": replace(TCP, protocol=Protocol.UDP)},
    ]
    for number, other in enumerate(others):
        assert len(stage.on_notices([notice(number, 5 * S, **other)], 5 * S)) == 1
        assert stage.on_notices([notice(100 + number, 5 * S, **other)], 5 * S) == []
    passed_on = folded(stage.on_time(6 * S))
    assert [one.count for one in passed_on] == [1] * len(others)
    assert len({one.notice.id for one in passed_on}) == len(others)


def test_whatever_the_address_a_service_is_its_port() -> None:
    stage = fold(above=1)
    elsewhere = replace(TCP, local_ip="192.0.2.9", netns=4026532008)
    assert len(stage.on_notices([notice(1, 5 * S), notice(2, 5 * S, socket=elsewhere)], 5 * S)) == 1


def test_few_at_a_time_are_told_singly_for_ever() -> None:
    stage = fold()
    for number in range(1009):
        now_ns = 5 * S + number * S // ABOVE + number % 3
        assert len(stage.on_notices([notice(number, now_ns)], now_ns)) == 1
    assert stage._counters.snapshot()["folded"] == 0


def test_a_storm_that_lasts_is_one_fold_and_none_of_it_is_told_singly() -> None:
    stage = fold()
    passed_on = []
    for number in range(40):  # ten in each second
        now_ns = 5 * S + number * S // 10
        passed_on += stage.on_notices([notice(number, now_ns)], now_ns)
    passed_on += stage.on_time(10 * S)
    assert said(passed_on) == [(EXCEEDED, 0)] * 3 + [(EXCEEDED, 10)] * 3 + [(EXCEEDED, 7)]
    assert len({one.notice.id for one in folded(passed_on[3:])}) == 1
    assert [one.notice.ns for one in folded(passed_on[3:])] == [5 * S + n * S // 10 for n in (3, 13, 23, 33)]


def test_another_storm_is_another_fold() -> None:
    stage = fold()
    passed_on = [*stage.on_notices(crossings(*range(5)), 5 * S), *stage.on_notices([], 6 * S)]
    passed_on += [*stage.on_notices(crossings(*range(10, 15)), 6 * S), *stage.on_notices([], 7 * S)]
    assert said(passed_on) == 2 * [*[(EXCEEDED, 0)] * 3, (EXCEEDED, 2)]
    assert passed_on[3].notice.id != passed_on[7].notice.id  # type: ignore[union-attr]


def test_a_fold_begins_with_the_oldest_of_its_episodes() -> None:
    """They need not be noticed in the order in which they began."""
    stage = fold(above=1)
    stage.on_notices([notice(1, 5 * S), notice(2, 5 * S), notice(3, 4 * S), notice(4, 5 * S)], 5 * S)
    stage.on_notices([notice(2, 6 * S, CLEARED)], 5 * S)
    assert [(one.notice.ns, one.notice.since_ns) for one in stage.flush()] == [(4 * S, 4 * S), (6 * S, 4 * S)]


def test_services_are_forgotten_when_nothing_crossed_for_a_window() -> None:
    stage = fold()
    ports = {443: 5 * S, 8443: 5 * S + 1, 8080: 5 * S + 2}
    for port, now_ns in (*ports.items(), (443, 5 * S + 3)):
        stage.on_notices([notice(port, now_ns, socket=replace(TCP, local_port=port))], now_ns)
    left = []
    for now_ns in range(6 * S, 6 * S + 5):
        stage.on_time(now_ns)
        left.append(len(stage._crossings))
    assert left == [3, 2, 1, 0, 0]


def test_an_episode_that_is_repeated_within_a_window_is_counted_once_in_each() -> None:
    """The window may be longer than the repeat interval."""
    stage = fold(above=1, window_ns=60 * S)
    stage.on_notices(crossings(1, 2, 3), 5 * S)
    passed_on = []
    for now_ns in (15 * S, 25 * S, 35 * S):
        passed_on += stage.on_notices([notice(n, now_ns, ONGOING) for n in (2, 3)], now_ns)
    passed_on += stage.flush()
    assert said(passed_on) == [(EXCEEDED, 2), (ONGOING, 2), (ONGOING, 2), (ONGOING, 2)]


def test_what_is_due_is_told_before_what_comes_after_it() -> None:
    stage = fold(above=1)
    stage.on_notices(crossings(1, 2), 5 * S)
    passed_on = stage.on_notices([notice(2, 6 * S, CLEARED)], 6 * S)
    assert said(passed_on) == [(EXCEEDED, 1)]
    assert said(stage.flush()) == [(CLEARED, 1)]  # type: ignore[arg-type]


def test_at_the_stop_all_is_told() -> None:
    stage = fold(above=1)
    stage.on_notices([*crossings(1, 2, 3), notice(2, 5 * S, CLEARED), notice(3, 5 * S, ONGOING)], 5 * S)
    assert [(one.notice.event, one.count) for one in stage.flush()] == [
        (EXCEEDED, 2), (ONGOING, 1), (CLEARED, 1),
    ]  # fmt: skip
    assert stage.next_due_ns() is None
    assert stage.flush() == []


def test_ends_that_are_not_told_are_looked_for() -> None:
    open_ = {f"id-{number}" for number in range(10)}
    stage = Fold(1, S, counters=Counters(), is_open=open_.__contains__)
    stage.on_notices(crossings(*range(10)), 5 * S)
    stage.on_time(5 * S)
    assert len(stage._storms) == 9
    open_ -= {f"id-{number}" for number in range(8)}
    stage.on_time(5 * S + FORGET_NS)
    assert stage._storms.keys() == {"id-8", "id-9"}
    open_.clear()
    stage.on_time(5 * S + 2 * FORGET_NS)
    assert_forgotten(stage, 5 * S + 3 * FORGET_NS)


def test_an_end_that_is_told_stays_with_its_fold_whenever_it_comes() -> None:
    """It is closed in the books before it is noticed."""
    open_ = {"id-0", "id-1"}
    stage = Fold(1, S, counters=Counters(), is_open=open_.__contains__)
    stage.on_notices(crossings(0, 1), 5 * S)
    open_.clear()
    passed_on = stage.on_notices([notice(1, 5 * S + 2 * FORGET_NS, CLEARED)], 5 * S + 2 * FORGET_NS)
    assert said(passed_on) == [(EXCEEDED, 1)]
    assert said(stage.on_time(5 * S + 3 * FORGET_NS)) == [(CLEARED, 1)]


def test_other_settings_while_it_runs() -> None:
    stage = fold(above=3)
    assert len(stage.on_notices(crossings(1, 2, 3, 4), 5 * S)) == 3
    stage.above = 5
    assert len(stage.on_notices(crossings(5, 6, 7), 5 * S)) == 2
    stage.above = 1
    assert stage.on_notices(crossings(8), 5 * S) == []
    stage.window_ns = 7 * S
    assert stage.next_due_ns() == 12 * S
    stage.above = 0
    assert len(stage.on_notices([*crossings(9), notice(4, 5 * S, CLEARED)], 5 * S)) == 1
    assert said(stage.on_time(12 * S)) == [(EXCEEDED, 3), (CLEARED, 1)]


def over(number: int, since_ns: int, what: What = What.OVER) -> Event:
    socket = replace(TCP, remote_ip=f"198.51.{number >> 8}.{number & 255}", inode=10_000 + number)
    return Event(
        what=what, mode=Mode.EBPF, direction=RECV, socket=socket, address=number + 1, ns=since_ns + 2 * S,
        since_ns=since_ns, size=2003 + number, since_size=2003 + number, peak=2003 + number,
        threshold=THRESHOLD, pid=0, comm="",
    )  # fmt: skip


@pytest.mark.parametrize("hold_ns", [0, S // 4])
def test_10007_sockets_of_one_service_in_a_second_are_a_handful_of_words(hold_ns: int) -> None:
    counters = Counters()
    levels_of = same_for_all(
        levels_by_direction(
            {SEND: THRESHOLD, RECV: THRESHOLD}, clear_ratio=0.5, hold_ns=hold_ns, repeat_ns=30 * S
        )
    )
    policy = Policy(levels_of, counters, "salt", lambda _: (0, ""))
    stage = Fold(5, S, counters=counters, is_open=policy.is_open)
    passed_on: list[Notice | Folded] = []

    def loop(now_ns: int, said: list[Notice]) -> None:
        nonlocal passed_on
        passed_on += stage.on_notices(said, now_ns)
        passed_on += stage.on_notices(policy.on_time(now_ns), now_ns)
        passed_on += stage.on_time(now_ns)

    def sleep_until(ns: int) -> None:
        while due := [at for at in (policy.next_due_ns(), stage.next_due_ns()) if at is not None and at < ns]:
            loop(min(due), [])

    begun = [5 * S + number * S // 10_007 for number in range(10_007)]
    for what, late_ns in ((What.OVER, 0), (What.BACK, 2 * S)):
        for number, since_ns in enumerate(begun):
            sleep_until(since_ns + late_ns)
            loop(since_ns + late_ns, policy.on_event(over(number, since_ns, what)))
    sleep_until(20 * S)
    sums: Counter[str] = Counter()
    for event, count in said(passed_on):
        sums[event] += count or 1
    assert sums == {EXCEEDED: 10_007, CLEARED: 10_007}
    assert len(passed_on) < 20
    assert len({one.notice.id for one in passed_on if isinstance(one, Folded)}) == 1
    assert counters.snapshot()["folded"] == 2 * (10_007 - 5)
    assert_forgotten(stage, 20 * S)


# random storms

SERVICES = (
    (TCP, RECV), (TCP, SEND), (replace(TCP, local_port=8443), RECV),
)  # fmt: skip


@dataclass
class Loop:
    """The stage as the monitor's loop calls it, and what must be true of what it tells."""

    stage: Fold
    now_ns: int = 5 * S
    number: int = 0
    noticed: Counter[str] = field(default_factory=Counter)
    passed_on: list[Notice | Folded] = field(default_factory=list)
    crossed: dict[int, list[int]] = field(default_factory=dict)
    """When the sockets of a service crossed."""
    single: dict[str, list[str]] = field(default_factory=dict)
    """Id of each episode that is to be told singly -> its events so far."""
    open: list[tuple[int, str]] = field(default_factory=list)
    """(service, id) of each episode that goes on."""
    collected: dict[str, int] = field(default_factory=dict)
    """Id of an open episode that is not told singly -> its service."""
    oldest_ns: dict[int, int] = field(default_factory=dict)
    """Since when something of a service must have been waiting."""

    def notice(self, service: int, id_: str, event: str, size: int) -> None:
        socket, direction = SERVICES[service]
        made = notice(0, self.now_ns, event, id=id_, socket=socket, direction=direction, size=size)
        self.noticed[event] += 1
        if event == EXCEEDED:
            crossed = self.crossed.setdefault(service, [])
            lately = [ns for ns in crossed if self.now_ns - ns < self.stage.window_ns]
            if len(lately) < self.stage.above:
                self.single[id_] = []
            else:
                self.collected[id_] = service
            crossed.append(self.now_ns)
        self.take(self.stage.on_notices([made], self.now_ns))
        if id_ in self.single:
            assert self.passed_on[-1] is made  # at once and untouched
        else:
            assert made not in self.passed_on
            self.oldest_ns.setdefault(service, self.now_ns)
        if event == CLEARED:
            self.collected.pop(id_, None)
        assert self.stage._storms.keys() == self.collected.keys()

    def take(self, passed_on: list[Notice | Folded]) -> None:
        self.passed_on += passed_on
        for one in passed_on:
            if isinstance(one, Notice):
                self.single[one.id].append(one.event)
            else:
                service = SERVICES.index(
                    (replace(one.notice.socket, remote_port=40009), one.notice.direction)
                )
                self.oldest_ns.pop(service, None)

    def wait(self, ns: int) -> None:
        """Let time pass, waking whenever something is due."""
        until_ns = self.now_ns + ns
        while (due_ns := self.stage.next_due_ns()) is not None and due_ns <= until_ns:
            assert self.stage.on_time(due_ns - 1) == []
            self.now_ns = due_ns
            passed_on = self.stage.on_time(due_ns)
            assert passed_on
            self.take(passed_on)
        self.now_ns = until_ns
        assert self.stage.on_time(until_ns) == []

    def cross(self, service: int, size: int) -> None:
        self.number += 1
        self.open.append((service, f"id-{self.number}"))
        self.notice(service, f"id-{self.number}", EXCEEDED, size)

    def go_on(self, which: int, size: int) -> None:
        if self.open:
            self.notice(*self.open[which % len(self.open)], ONGOING, size)

    def end(self, which: int, size: int) -> None:
        if self.open:
            self.notice(*self.open.pop(which % len(self.open)), CLEARED, size)

    def assert_nothing_waits_too_long(self) -> None:
        waiting = self.oldest_ns.values()
        assert all(self.now_ns - ns < self.stage.window_ns for ns in waiting)
        assert self.stage.next_due_ns() == (min(waiting) + self.stage.window_ns if waiting else None)


def assert_accounted_for(loop: Loop) -> None:
    sums: Counter[str] = Counter()
    balance: Counter[str] = Counter()
    begun: Counter[str] = Counter()
    for one in loop.passed_on:
        if isinstance(one, Notice):
            sums[one.event] += 1
            continue
        event, id_ = one.notice.event, one.notice.id
        sums[event] += one.count
        assert one.count >= 1
        begun[id_] += event == EXCEEDED
        balance[id_] += {EXCEEDED: one.count, ONGOING: 0, CLEARED: -one.count}[event]
        assert begun[id_]  # never a word of a fold before it began
        assert balance[id_] >= 0
        if event == ONGOING:
            assert balance[id_] >= one.count
        sizes = [size for _, size in one.worst]
        assert len(sizes) == min(one.count, WORST)
        assert sizes == sorted(sizes, reverse=True)
        assert one.notice.size == sizes[0]
        assert one.notice.since_ns <= one.notice.ns
    assert sums == loop.noticed
    assert sum(balance.values()) == len(loop.collected)
    for events in loop.single.values():
        assert events == sorted(events, key=EVENTS.index)
        assert (events.count(EXCEEDED), events.count(CLEARED)) in {(1, 0), (1, 1)}


SERVICE = st.integers(0, len(SERVICES) - 1)
SIZE = st.integers(1010, 1020)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("cross"), SERVICE, SIZE),
        st.tuples(st.just("cross"), st.just(0), SIZE),
        st.tuples(st.just("go_on"), st.integers(0, 100), SIZE),
        st.tuples(st.just("end"), st.integers(0, 100), SIZE),
        st.tuples(st.just("wait"), st.sampled_from([1, S // 3, S - 1, S, S + 1, 5 * S])),
    ),
    max_size=80,
)


@settings(max_examples=150, deadline=None)
@given(STEPS, st.integers(1, 4))
def test_all_is_told_in_time_and_in_order(steps: list[tuple[Any, ...]], above: int) -> None:
    loop = Loop(fold(above))
    for name, *rest in steps:
        getattr(loop, name)(*rest)
        loop.assert_nothing_waits_too_long()
    loop.take(list(loop.stage.flush()))
    assert_accounted_for(loop)
    while loop.open:
        loop.end(len(loop.open) // 2, 401)
    loop.wait(2 * S)
    assert_accounted_for(loop)
    assert loop.stage._counters.snapshot()["folded"] == sum(
        one.count for one in loop.passed_on if isinstance(one, Folded)
    )
    assert_forgotten(loop.stage, loop.now_ns)
