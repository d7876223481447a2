# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A listener is stalled while those that waited first wait still, however many come; not if only the number stays."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from sockbpf.counters import Counters
from sockbpf.judge.unaccepted import Unaccepted, UnacceptedSettings
from sockbpf.record.alert import Notice, socket_of
from sockbpf.record.event import Direction, Protocol, Socket
from sockbpf.record.facts import Condition
from sockbpf.record.listening import Listener, ListenLook

S = 10**9
NETNS = 4026531840
SETTINGS = UnacceptedSettings(15 * S, 60 * S)
SOCKET = Socket(Protocol.TCP, "0.0.0.0", 443, "0.0.0.0", 0, NETNS, 8191)

Queue = tuple[int, Collection[int]]
"""How many wait, and the cookies of those that are seen to wait."""


class Host:
    """Looks at the listeners of one port each second; says who waits only where that is asked."""

    def __init__(self, settings: UnacceptedSettings = SETTINGS) -> None:
        self.judge = Unaccepted(settings, Counters(), "salt", lambda _: (17, "nginx"))
        self.s = 0

    def look(self, *queues: Queue, limit: int = 128, **changed: Any) -> list[Notice]:
        self.s += 1
        listeners = []
        for cookie, (waiting, connections) in enumerate(queues):
            socket = replace(SOCKET, inode=8191 + cookie)
            listener = Listener(socket, cookie, waiting, limit, 0, **changed)
            if listener.place in self.judge.wanted:
                listener = replace(listener, connections=frozenset(connections))
            listeners.append(listener)
        seen = ListenLook(self.s * S, self.s * S + 1, frozenset({NETNS}), {NETNS: 0}, tuple(listeners))
        return self.judge.on_look(seen) + self.judge.on_time(self.s * S + 2)

    def looks(self, number: int, *queues: Queue, **changed: Any) -> list[Notice]:
        return [notice for _ in range(number) for notice in self.look(*queues, **changed)]


def test_one_that_waits_for_long_is_told_from_when_it_was_seen_first() -> None:
    host = Host()
    assert host.looks(18, (1, {101})) == []
    (notice,) = host.look((1, {101}))
    assert (notice.event, notice.condition, notice.direction) == (
        "exceeded",
        Condition.STALLED,
        Direction.ACCEPT,
    )
    assert (notice.size, notice.threshold, notice.facts.limit, notice.pid) == (1, 0, 128, 17)
    assert notice.ns == notice.since_ns == 3 * S + 1
    assert host.looks(9, (3, {101, 102, 103})) == []
    (end,) = host.look((2, {102, 103}))
    assert (end.event, end.size, end.peak, end.id) == ("cleared", 2, 3, notice.id)


def test_that_more_come_is_no_sign_of_life() -> None:
    host = Host()
    for number in range(18):
        assert host.look((number + 1, range(number + 1))) == []
    assert [notice.size for notice in host.look((19, range(19)))] == [19]


def test_where_the_number_stays_and_others_wait_somebody_accepts() -> None:
    host = Host()
    for number in range(200):
        assert host.look((2, {number, number + 1})) == []


def test_a_number_that_falls_is_enough() -> None:
    host = Host()
    for _ in range(10):
        assert host.looks(12, (2, {101, 102})) == []
        assert host.look((1, {102})) == []


def test_what_the_peer_has_reset_was_not_accepted() -> None:
    """It is counted still, but not shown any more."""
    host = Host()
    assert host.looks(10, (3, {101, 102, 103})) == []
    assert [notice.size for notice in host.looks(9, (4, {101, 104}))] == [4]
    host = Host()
    assert host.looks(10, (3, {101, 102, 103})) == []
    assert host.looks(12, (3, {101, 104, 105})) == []  # of those that came instead, none is reset


def test_one_that_is_full_is_told_as_that() -> None:
    host = Host()
    assert host.looks(40, (3, {101, 102, 103}), limit=2) == []


def test_of_a_group_that_shares_a_port_only_the_one_that_hangs() -> None:
    host = Host()
    notices = []
    for number in range(19):
        others = {1000 + number, 2000 + number}
        notices += host.look((2, {101, 102} | others), (number % 2, {101, 102} | others), (0, ()))
    assert [socket_of(notice).inode for notice in notices] == [8191]
    both = Host()
    assert {socket_of(notice).inode for notice in both.looks(19, (1, {101, 102}), (1, {101, 102}))} == {
        8191,
        8192,
    }


def test_of_a_group_nobody_is_told_if_it_may_be_the_other() -> None:
    host = Host()
    for number in range(60):
        who = {101, 1000 + number}
        assert host.look((1, who), (1, who)) == []


def test_the_monitors_own_and_an_empty_one_are_not_told() -> None:
    assert Host().looks(40, (1, {101}), is_own=True) == []
    assert Host().looks(40, (0, {101})) == []


def test_one_that_is_gone_and_other_settings() -> None:
    host = Host()
    assert [notice.event for notice in host.looks(19, (1, {101}))] == ["exceeded"]
    assert [notice.event for notice in host.look()] == ["cleared"]
    assert [notice.event for notice in host.looks(19, (1, {101}))] == ["exceeded"]
    host.judge.settings = replace(SETTINGS, after_ns=0)
    assert [notice.event for notice in host.look((1, {101}))] == ["cleared"]
    assert host.looks(40, (1, {101})) == []
    assert not host.judge.wanted
