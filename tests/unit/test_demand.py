# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Hooks on demand: attached from the first crossing that needs them until a while after the last."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sockbpf.counters import Counters
from sockbpf.judge.levels import levels_by_direction, same_for_all
from sockbpf.judge.policy import Policy
from sockbpf.kernel.build.hooks import SEEN, Attached
from sockbpf.monitor.demand import KEPT_S, QUEUES, RETRY_S, Demand
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

    def __init__(self, thing: str = "UDP send shrinks", kept_s: float = KEPT_S) -> None:
        self.said: list[bool] = []
        self.can = True
        self.demand = Demand(QUEUES[thing], self.attach, kept_s)
        levels = levels_by_direction({SEND: 1009, RECV: 1009}, clear_ratio=0.5, hold_ns=0, repeat_ns=S)
        levels_of = same_for_all(levels)
        self.policy = Policy(levels_of, Counters(), "salt", lambda _: (0, ""))

    def attach(self, wanted: bool) -> bool:
        self.said.append(wanted)
        return self.can

    def event(self, event: Event, now_s: float) -> bool:
        self.policy.on_event(event)
        return self.demand.on_event(event, now_s)

    def rest(self, now_s: float) -> bool:
        over = {(episode.socket.protocol, episode.direction) for episode in self.policy.open.values()}
        return self.demand.rest(over, now_s)


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
    assert not switch.rest(500.0)
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


def test_hooks_that_cannot_be_attached_are_tried_again_after_a_while() -> None:
    switch = Switch()
    switch.can = False
    assert not switch.event(OVER, 5.0)
    assert not switch.event(replace(OVER, address=19), 5.1), "not at each crossing of a storm"
    assert not switch.demand.attached
    switch.can = True
    assert not switch.rest(4.9 + RETRY_S)
    assert switch.rest(5.0 + RETRY_S)
    assert switch.said == [True, True]
    assert switch.demand.attached


def test_an_episode_without_an_event_needs_them_too() -> None:
    """Its event was lost, or a sweep found the queue."""
    switch = Switch()
    switch.policy.on_table([OVER])
    assert switch.rest(5.0), "it may have drained meanwhile: a look is wanted"
    assert not switch.rest(6.0)
    assert switch.said == [True]


def test_they_are_attached_and_detached_at_most_once_in_the_time_that_they_are_kept() -> None:
    """An hour of churn: episodes of half a second, each fifth of a second to nine seconds apart."""
    for apart_s in (0.2, 3.0, 9.0):
        switch, now_s, number = Switch(kept_s=7.0), 0.0, 0
        while now_s < 3600:
            number += 1
            over = replace(OVER, since_ns=number, ns=number)
            switch.event(over, now_s)
            switch.rest(now_s + 0.4)
            switch.event(replace(over, what=What.BACK, size=0), now_s + 0.5)
            now_s += apart_s
            switch.rest(now_s)
        assert switch.said == ([True, False] * number)[: len(switch.said)], "in turns"
        assert len(switch.said) <= 2 * 3600 / 7.0
        assert len(switch.said) == (1 if apart_s < 7 else 2 * number)


@pytest.mark.parametrize(("thing", "queues"), QUEUES.items())
def test_each_kind_of_queue_has_hooks_of_its_own(thing: str, queues: tuple[Protocol, Direction]) -> None:
    for protocol in Protocol:
        for direction in (SEND, RECV):
            switch = Switch(thing)
            event = replace(OVER, socket=replace(UDP, protocol=protocol), direction=direction)
            assert switch.event(event, 5.0) is ((protocol, direction) == queues)


def test_whatever_is_attached_on_demand_has_its_queues_named() -> None:
    wanted = {
        thing for thing, row in SEEN.items() for candidate in row if candidate.attached is not Attached.ALWAYS
    }
    assert wanted == set(QUEUES)
