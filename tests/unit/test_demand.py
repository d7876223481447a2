# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Hooks on demand: attached from the first crossing that needs them until a while after the last."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sockbpf.counters import Counters
from sockbpf.judge.levels import levels_by_direction, same_for_all
from sockbpf.judge.policy import Policy
from sockbpf.monitor.demand import KEPT_S, Demand, is_udp_send
from sockbpf.record.event import Direction, Event, Mode, Protocol, Socket, What

S = 10**9
SEND, RECV = Direction.SEND, Direction.RECV
UDP = Socket(Protocol.UDP, "192.0.2.1", 53, "192.0.2.2", 40009, 4026531840, 8191)
OVER = Event(
    what=What.OVER, mode=Mode.EBPF, direction=SEND, socket=UDP, address=17, ns=S, since_ns=S, size=2003,
    since_size=2003, peak=2003, threshold=1009, pid=0, comm="",
)  # fmt: skip


class Switch:
    """A demand with what was attached and detached, in order, beside real episodes."""

    def __init__(self) -> None:
        self.said: list[bool] = []
        self.demand = Demand(is_udp_send, self.said.append)
        levels = levels_by_direction({SEND: 1009, RECV: 1009}, clear_ratio=0.5, hold_ns=0, repeat_ns=S)
        levels_of = same_for_all(levels)
        self.policy = Policy(levels_of, Counters(), "salt", lambda _: (0, ""))

    def event(self, event: Event, now_s: float) -> bool:
        self.policy.on_event(event)
        return self.demand.on_event(event, now_s)

    def rest(self, now_s: float) -> None:
        self.demand.rest(self.policy.open.values(), now_s)


@pytest.mark.parametrize(
    "event",
    [
        replace(OVER, direction=RECV),
        replace(OVER, socket=replace(UDP, protocol=Protocol.TCP)),
        replace(OVER, what=What.BACK),
    ],
    ids=["receiving", "tcp", "back"],
)
def test_what_does_not_need_them_attaches_nothing(event: Event) -> None:
    switch = Switch()
    assert not switch.event(event, 5.0)
    switch.rest(500.0)
    assert switch.said == []


def test_they_are_attached_once_and_stay_while_an_episode_needs_them() -> None:
    switch = Switch()
    assert switch.event(OVER, 5.0), "it may have drained meanwhile: a look is wanted"
    assert not switch.event(replace(OVER, socket=replace(UDP, inode=8209), address=19), 6.0)
    for now_s in (7.0, 100.0, 1000.0):
        switch.rest(now_s)
    assert switch.said == [True]
    assert switch.demand.attached


def test_they_are_detached_a_while_after_the_last_episode_and_attached_again_by_the_next() -> None:
    switch = Switch()
    switch.event(OVER, 5.0)
    switch.rest(100.0)
    switch.event(replace(OVER, what=What.BACK, size=0, ns=2 * S), 101.0)
    switch.rest(100.0 + KEPT_S)
    assert switch.demand.attached
    switch.rest(100.001 + KEPT_S)
    assert not switch.demand.attached
    assert switch.event(replace(OVER, since_ns=3 * S, ns=3 * S), 200.0)
    assert switch.said == [True, False, True]


def test_hooks_that_cannot_be_attached_are_tried_again_at_the_next_crossing() -> None:
    tries: list[bool] = []

    def refuse(wanted: bool) -> None:
        tries.append(wanted)
        raise OSError(24, "Too many open files")

    demand = Demand(is_udp_send, refuse)
    for _ in range(2):
        with pytest.raises(OSError, match="Too many"):
            demand.on_event(OVER, 5.0)
    assert not demand.attached
    assert tries == [True, True]
