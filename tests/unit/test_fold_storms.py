# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Storms, of ten thousand sockets and at random: every crossing is accounted for, in time and in order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.counters import Counters
from sockbpf.judge.fold import Fold
from sockbpf.judge.levels import levels_by_direction, same_for_all
from sockbpf.judge.policy import Policy
from sockbpf.judge.storm import PATIENCE, WORST
from sockbpf.record.alert import CLEARED, EVENTS, EXCEEDED, ONGOING, Folded, Notice, socket_of
from sockbpf.record.event import Event, Mode, What
from tests.unit.folds import RECV, SEND, TCP, THRESHOLD, S, assert_forgotten, fold, notice, said


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
    """Id of each episode whose notices are to be passed on singly -> its events so far."""
    open: list[tuple[int, str]] = field(default_factory=list)
    """(service, id) of each episode that goes on."""
    collected: dict[str, int] = field(default_factory=dict)
    """Id of an open episode whose notices are collected -> its service."""
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
        storm = self.stage._storms.get(id_)
        self.take(self.stage.on_notices([made], self.now_ns))
        if id_ in self.single:
            assert self.passed_on[-1] is made  # at once and untouched
        else:
            assert made not in self.passed_on
            if event == CLEARED and storm and storm.open:
                self.collected.pop(id_)
                return  # it waits for the others to end
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
                    (replace(socket_of(one.notice), remote_port=40009), one.notice.direction)
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
        longest_ns = PATIENCE * self.stage.window_ns
        assert all(self.now_ns - ns < longest_ns for ns in waiting)
        due_ns = self.stage.next_due_ns()
        assert (due_ns is not None) == bool(waiting)
        assert due_ns is None or due_ns <= min(waiting) + longest_ns


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
def test_all_is_passed_on_in_time_and_in_order(steps: list[tuple[Any, ...]], above: int) -> None:
    loop = Loop(fold(above))
    for name, *rest in steps:
        getattr(loop, name)(*rest)
        loop.assert_nothing_waits_too_long()
    loop.take(list(loop.stage.flush()))
    assert_accounted_for(loop)
    while loop.open:
        loop.end(len(loop.open) // 2, 401)
    loop.wait((PATIENCE + 1) * S)
    assert_accounted_for(loop)
    assert loop.stage._counters.snapshot()["folded"] == sum(
        one.count for one in loop.passed_on if isinstance(one, Folded)
    )
    assert_forgotten(loop.stage, loop.now_ns)
