# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A listener is over while too many connections wait for a hold; an overflow is told at once, with its drops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from sockbpf.counters import Counters
from sockbpf.judge.listeners import Listeners, ListenerSettings
from sockbpf.record.alert import Notice, socket_of
from sockbpf.record.event import Direction, Mode, Protocol, Socket
from sockbpf.record.facts import Condition, Fill, Severity
from sockbpf.record.listening import Listener, ListenLook

S = 10**9
NETNS, OTHER = 4026531840, 4026532001
SETTINGS = ListenerSettings(Fill(80), 0.8, S, 60 * S)
SOCKET = Socket(Protocol.TCP, "0.0.0.0", 443, "0.0.0.0", 0, NETNS, 8191)


class Host:
    """Looks at listeners, half a second apart."""

    def __init__(self, settings: ListenerSettings = SETTINGS) -> None:
        self.counters = Counters()
        self.judge = Listeners(
            settings, self.counters, "salt", lambda inode: (17, "nginx") if inode else (0, "")
        )
        self.ns = 0

    def look(
        self, *listeners: Listener, overflows: int = 0, places: Sequence[int] = (NETNS,), failed: bool = False
    ) -> list[Notice]:
        begun_ns, self.ns = self.ns, self.ns + S // 2
        counts = {} if failed else dict.fromkeys(places, overflows)
        seen = ListenLook(begun_ns, begun_ns + 1, frozenset(places), counts, listeners)
        notices = self.judge.on_look(seen)
        return notices + self.judge.on_time(begun_ns + 1)


def listener(
    waiting: int = 0, drops: int | None = 0, limit: int = 128, number: int = 1, **changed: Any
) -> Listener:
    return Listener(replace(SOCKET, inode=8191 + number), number, waiting, limit, drops, **changed)


def told(notices: list[Notice]) -> list[tuple[str, str, int, int | None]]:
    return [(each.event, each.severity.value, each.size, each.facts.drops) for each in notices]


def test_what_waits_for_a_hold_is_told_with_the_first_look_that_saw_it() -> None:
    host = Host()
    assert host.look(listener(102)) == []
    assert host.look(listener(103)) == []
    assert host.look(listener(104)) == []
    assert host.look(listener(105)) == []  # begun less than a second after the end of the first
    (notice,) = host.look(listener(129))
    assert (notice.event, notice.ns, notice.since_ns) == ("exceeded", S // 2 + 1, S // 2 + 1)
    assert (notice.size, notice.peak, notice.threshold, notice.facts.limit) == (129, 129, 102, 128)
    assert (notice.condition, notice.direction, notice.mode) == (
        Condition.ACCEPT,
        Direction.ACCEPT,
        Mode.POLL,
    )
    assert (notice.pid, notice.comm, notice.facts.fill, notice.facts.state) == (17, "nginx", 100, 10)
    assert host.look(listener(82)) == []
    assert told(host.look(listener(81))) == [("cleared", "warning", 81, 0)]
    assert len(host.judge) == 0


def test_a_burst_within_the_hold_is_not_told() -> None:
    host = Host()
    for waiting in (0, 129, 129, 81, 129, 129, 0):
        assert host.look(listener(waiting)) == []


def test_without_a_hold_it_is_told_at_once() -> None:
    host = Host(replace(SETTINGS, hold_ns=0))
    assert told(host.look(listener(103))) == [("exceeded", "warning", 103, 0)]


@pytest.mark.parametrize(("limit", "most"), [(0, 1), (1, 1), (2, 1), (5, 4), (4096, 3276)])
def test_the_threshold_is_a_share_of_the_backlog_and_never_one_alone(limit: int, most: int) -> None:
    host = Host(replace(SETTINGS, hold_ns=0))
    assert host.look(listener(most, limit=limit)) == []
    assert told(host.look(listener(most + 1, limit=limit))) == [("exceeded", "warning", most + 1, 0)]


def test_a_number_of_connections_is_compared_whatever_the_backlog_is() -> None:
    host = Host(replace(SETTINGS, backlog=10, hold_ns=0))
    assert host.look(listener(10)) == []
    assert [notice.threshold for notice in host.look(listener(11))] == [10]


def test_an_overflow_is_told_even_if_nothing_waits_any_more() -> None:
    host = Host()
    host.look(listener(drops=5), overflows=70)
    (notice,) = host.look(listener(drops=18), overflows=83)
    assert (notice.event, notice.severity, notice.size, notice.threshold) == (
        "exceeded",
        Severity.CRITICAL,
        129,
        128,
    )
    assert notice.facts.drops == 13
    assert host.look(listener(drops=18), overflows=83) == []
    assert host.look(listener(drops=18), overflows=83) == []
    (end,) = host.look(listener(drops=18), overflows=83)
    assert (end.event, end.size, end.peak, end.facts.drops, end.id) == ("cleared", 0, 129, 13, notice.id)


def test_further_overflows_are_in_the_episode() -> None:
    host = Host(replace(SETTINGS, repeat_ns=S))
    host.look(listener())
    assert told(host.look(listener(129, 13), overflows=13)) == [("exceeded", "critical", 129, 13)]
    assert host.look(listener(129, 30), overflows=30) == []
    assert told(host.look(listener(129, 30), overflows=30)) == [("ongoing", "critical", 129, 30)]
    assert host.look(listener(0, 31), overflows=31) == []
    assert told(host.look(listener(0, 31), overflows=31)) == [("ongoing", "critical", 0, 31)]
    host.look(listener(0, 31), overflows=31)
    assert told(host.look(listener(0, 31), overflows=31))[0] == ("cleared", "critical", 0, 31)


def test_an_overflow_in_a_warning_is_told_too_and_no_warning_in_an_overflow() -> None:
    host = Host(replace(SETTINGS, hold_ns=0))
    assert told(host.look(listener(103))) == [("exceeded", "warning", 103, 0)]
    assert told(host.look(listener(129, 2), overflows=2)) == [("exceeded", "critical", 129, 2)]
    assert host.look(listener(129, 2), overflows=2) == []
    assert told(host.look(listener(0, 2), overflows=2)) == [
        ("cleared", "warning", 0, 2),
        ("cleared", "critical", 0, 2),
    ]
    assert told(host.look(listener(129, 3), overflows=3)) == [("exceeded", "critical", 129, 1)]
    assert host.look(listener(129, 3), overflows=3) == []


def test_what_was_dropped_before_the_start_is_not_told() -> None:
    host = Host()
    assert host.look(listener(129, 17), overflows=17) == []
    assert host.look(listener(100, 17), overflows=17) == []


def test_a_new_listener_and_one_in_a_new_namespace_have_dropped_all_since() -> None:
    host = Host()
    host.look(overflows=100)
    assert told(host.look(listener(9, 3, 8), overflows=103)) == [("exceeded", "critical", 9, 3)]
    host = Host()
    host.look()
    new = listener(9, 5, 8)
    new = replace(new, socket=replace(new.socket, netns=OTHER))
    assert told(host.look(new, places=(OTHER,), overflows=5)) == [("exceeded", "critical", 9, 5)]


def test_a_namespace_that_a_look_could_not_enter_is_not_a_new_one() -> None:
    host = Host()
    host.look(failed=True)
    assert host.look(listener(0, 7), overflows=7) == []


def test_stray_segments_are_no_overflow() -> None:
    host = Host()
    host.look(listener(100))
    assert host.look(listener(100, 7)) == []
    assert told(host.look(listener(100, 9), listener(129, 4, number=2), overflows=4)) == [
        ("exceeded", "critical", 129, 4)
    ]


def test_drops_that_the_look_came_too_soon_for_are_told_by_the_next() -> None:
    host = Host()
    host.look(listener())
    assert host.look(listener(129), overflows=2) == []
    assert told(host.look(listener(129, 2), overflows=2)) == [("exceeded", "critical", 129, 2)]
    assert host.counters.snapshot()["overflows_unnamed"] == 0


def test_overflows_of_nobody_are_counted() -> None:
    host = Host()
    host.look(listener())
    host.look(listener(), overflows=3)
    host.look(listener(), overflows=3)
    assert host.counters.snapshot()["overflows_unnamed"] == 3


def test_where_the_kernel_does_not_count_them_who_is_full_is_named() -> None:
    host = Host()
    host.look(listener(129, None), listener(0, None, number=2))
    assert told(host.look(listener(0, None), listener(0, None, number=2), overflows=3)) == [
        ("exceeded", "critical", 129, 3)
    ]
    host = Host()
    host.look(listener(129, None), listener(129, None, number=2))
    both = host.look(listener(129, None), listener(129, None, number=2), overflows=3)
    assert told(both) == [("exceeded", "critical", 129, None)] * 2


def test_the_count_of_drops_begins_anew_after_2_to_the_32() -> None:
    host = Host()
    host.look(listener(129, 2**32 - 1))
    assert told(host.look(listener(129, 1), overflows=2)) == [("exceeded", "critical", 129, 2)]


def test_listeners_that_share_an_address_are_told_apart() -> None:
    host = Host(replace(SETTINGS, hold_ns=0))
    (one,) = host.look(listener(0), listener(129, number=2))
    assert socket_of(one).inode == 8193
    (other,) = host.look(listener(129), listener(129, number=2))
    assert socket_of(other).inode == 8192


def test_the_monitors_own_are_not_told_of_but_their_overflows_are_theirs() -> None:
    host = Host(replace(SETTINGS, hold_ns=0))
    host.look(listener(is_own=True))
    assert host.look(listener(129, 7, is_own=True), listener(129, number=2), overflows=7)[0].facts.drops == 0
    assert host.counters.snapshot()["overflows_unnamed"] == 0


def test_one_that_is_gone_has_cleared() -> None:
    host = Host(replace(SETTINGS, hold_ns=0))
    host.look(listener(129))
    assert host.look() == []
    assert told(host.look()) == [("cleared", "warning", 0, 0)]
    host.look(listener(129, number=2))
    assert host.look(failed=True) == []
    assert told(host.look(places=())) == [("cleared", "warning", 0, 0)]


def test_other_settings_hold_at_once() -> None:
    host = Host(replace(SETTINGS, hold_ns=0))
    host.look(listener(103))
    host.judge.use_settings(replace(SETTINGS, backlog=103, repeat_ns=S))
    assert host.look(listener(83)) == []
    assert told(host.look(listener(83))) == [("ongoing", "warning", 83, 0)]
    host.judge.use_settings(replace(SETTINGS, backlog=0))
    assert told(host.look()) == [("cleared", "warning", 83, 0)]
    assert host.look(listener(129, 7), overflows=7) == []
    host.judge.use_settings(SETTINGS)
    assert host.look(listener(0, 7), overflows=7) == []
