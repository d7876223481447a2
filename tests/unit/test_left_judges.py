# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Judges of looks go on with what an earlier run has told: of queues that stand still, and of rates."""

from __future__ import annotations

from dataclasses import replace

from sockbpf.counters import Counters
from sockbpf.judge.episodes import left_key
from sockbpf.judge.rates import Rates
from sockbpf.judge.stalls import Stalls
from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Notice
from sockbpf.record.event import Direction, Protocol, Socket
from sockbpf.record.facts import Facts, Severity
from sockbpf.record.left import lefts_of_notice
from sockbpf.record.rate import Counts, HostCounter, Rate
from sockbpf.record.rule import StallSettings
from sockbpf.record.sweep import Reading, Sweep
from tests.unit.policies import NETNS, RECV, TCP, S

AFTER, ABOVE = 15 * S, 1024
OTHER = replace(TCP, remote_port=4711)
COUNTER = HostCounter("UdpRcvbufErrors", NETNS)


def stalls() -> Stalls:
    def of(_socket: Socket, _direction: Direction) -> StallSettings:
        return StallSettings(AFTER, ABOVE, 60 * S)

    return Stalls(of, Counters(), "salt", lambda _: (0, ""), lambda _inode, _since_ns: False)


def look(judge: Stalls, at_s: int, mark: int | None, *sockets: Socket) -> list[Notice]:
    facts = {RECV: Facts(131072, 4608, 1)}
    left = {} if mark is None else {RECV: mark}
    readings = tuple(Reading(each, {RECV: 2003}, 0, facts, left) for each in sockets)
    places = frozenset((NETNS, protocol) for protocol in Protocol)
    return judge.on_sweep(Sweep(at_s * S, at_s * S + 7, places, frozenset(), readings)) + judge.on_time(
        at_s * S + 7
    )


def restarted() -> tuple[Notice, Stalls]:
    """Return what a judge told of TCP, and one that may go on with it."""
    earlier = stalls()
    (told,) = [notice for at_s in (5, 10, 21) for notice in look(earlier, at_s, 7, TCP)]
    judge = stalls()
    (left,) = lefts_of_notice(told, "boot", 0)
    judge.episodes.left[left_key(TCP, RECV, Severity.WARNING)] = left
    return told, judge


def test_a_queue_that_stood_still_goes_on_at_the_first_look_until_something_leaves_it() -> None:
    told, judge = restarted()
    (goes_on,) = look(judge, 90, 7, TCP, OTHER)
    assert (goes_on.event, goes_on.id, goes_on.since_ns) == (ONGOING, told.id, told.since_ns)
    assert look(judge, 95, 7, TCP, OTHER) == []
    assert [(notice.event, notice.id) for notice in look(judge, 100, 8, TCP)] == [(CLEARED, told.id)]
    assert [notice.event for notice in look(judge, 116, 8, TCP)] == [EXCEEDED], "it is another episode"


def test_where_nothing_is_known_of_what_leaves_it_nobody_goes_on() -> None:
    _, judge = restarted()
    assert look(judge, 90, None, TCP) == []
    assert judge.episodes.left


def rates() -> Rates:
    made = Rates("salt", lambda _: (0, ""))
    made.use({COUNTER.name: {Severity.WARNING: Rate(1, 1)}}, 0.8, 60 * S)
    return made


def rise(judge: Rates, at_s: int, value: int) -> list[Notice]:
    return judge.on_look((Counts(NETNS, at_s * S, {COUNTER.name: value}),))


def test_a_rate_goes_on_once_it_is_seen_again() -> None:
    earlier = rates()
    (told,) = [notice for at_s, value in ((5, 0), (6, 7)) for notice in rise(earlier, at_s, value)]
    judge = rates()
    (left,) = lefts_of_notice(told, "boot", 0)
    judge.left[COUNTER, Severity.WARNING] = left
    assert rise(judge, 90, 17) == []
    (goes_on,) = rise(judge, 91, 20)
    assert (goes_on.event, goes_on.id, goes_on.since_ns) == (ONGOING, told.id, told.since_ns)
    assert (goes_on.size, goes_on.peak) == (3, 7)
    assert not judge.left
