# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How the crossings of one service are folded: the first singly, the rest together, by the worst, with all ends."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from sockbpf.counters import Counters
from sockbpf.judge.fold import FORGET_NS, Fold
from sockbpf.record.alert import CLEARED, EVENTS, EXCEEDED, ONGOING, Folded, Notice, socket_of
from sockbpf.record.event import Protocol
from tests.unit.folds import ABOVE, RECV, SEND, TCP, THRESHOLD, S, assert_forgotten, fold, notice, said


def crossings(*numbers: int, ns: int = 5 * S) -> list[Notice]:
    return [notice(number, ns) for number in numbers]


def folded(passed_on: list[Notice | Folded]) -> list[Folded]:
    assert all(isinstance(one, Folded) for one in passed_on)
    return [one for one in passed_on if isinstance(one, Folded)]


def test_above_0_everything_passes_untouched() -> None:
    stage = fold(above=0)
    noticed = [notice(n, 5 * S, event) for n in range(17) for event in EVENTS]
    passed_on = stage.on_notices(noticed, 5 * S)
    assert [id(one) for one in passed_on] == [id(one) for one in noticed]
    assert stage.next_due_ns() is None
    assert_forgotten(stage, 5 * S)


@pytest.mark.parametrize("above", [1, 2, 3, 7])
def test_the_first_pass_at_once_and_the_rest_when_the_window_has_passed(above: int) -> None:
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


def test_what_is_folded_is_described_by_its_worst() -> None:
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
    assert (one.notice.pid, one.notice.comm) == (4003, "reader")
    assert (socket_of(one.notice).local_port, one.notice.direction) == (443, RECV)


def test_what_comes_later_of_a_fold_has_its_id() -> None:
    stage = fold(above=1)
    (single,) = stage.on_notices(crossings(0), 5 * S)
    stage.on_notices(crossings(1, 2, 3), 5 * S)
    (begun,) = folded(stage.on_time(6 * S))
    assert stage.on_notices([notice(n, 36 * S, ONGOING, since_ns=5 * S) for n in (1, 2)], 36 * S) == []
    assert stage.on_notices([notice(3, 36 * S + 7, ONGOING, since_ns=5 * S)], 36 * S + 7) == []
    assert stage.on_notices([notice(1, 36 * S + 9, CLEARED, since_ns=5 * S)], 36 * S + 9) == []
    (going,) = folded(stage.on_time(37 * S))
    assert (going.notice.event, going.count, going.notice.ns) == (ONGOING, 3, 36 * S + 7)
    assert stage.next_due_ns() is None  # two are still over
    stage.on_notices([notice(n, 40 * S, CLEARED, since_ns=5 * S) for n in (2, 3)], 40 * S)
    (ended,) = folded(stage.on_time(41 * S))
    assert (ended.notice.event, ended.count, ended.notice.ns) == (CLEARED, 3, 40 * S)
    assert {one.notice.id for one in (going, ended)} == {begun.notice.id}
    assert {one.notice.since_ns for one in (begun, going, ended)} == {5 * S}
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


def test_few_at_a_time_are_passed_on_singly_for_ever() -> None:
    stage = fold()
    for number in range(1009):
        now_ns = 5 * S + number * S // ABOVE + number % 3
        assert len(stage.on_notices([notice(number, now_ns)], now_ns)) == 1
    assert stage._counters.snapshot()["folded"] == 0


def test_a_storm_clears_once_when_all_of_it_has_ended() -> None:
    stage = fold(above=1)
    stage.on_notices(crossings(0, 1, 2), 5 * S)
    stage.on_notices([notice(n, 5 * S + 7, CLEARED) for n in (1, 2)], 5 * S + 7)
    stage.on_notices(crossings(3, ns=6 * S - 1), 6 * S - 1)  # before the end of the others was passed on
    assert said(stage.on_time(6 * S)) == [(EXCEEDED, 3)]
    stage.on_notices([notice(3, 6 * S + 1, CLEARED)], 6 * S + 1)
    assert said(stage.on_time(7 * S + 1)) == [(CLEARED, 3)]


def test_after_it_has_cleared_a_storm_has_another_id() -> None:
    stage = Fold(1, 10 * S, counters=Counters(), is_open=lambda _: True, collect_ns=S)
    stage.on_notices([*crossings(0, 1), notice(1, 5 * S, CLEARED)], 5 * S)
    begun, ended = folded(stage.on_time(6 * S))
    stage.on_notices(crossings(2, ns=7 * S), 7 * S)
    (again,) = folded(stage.on_time(8 * S))
    assert begun.notice.id == ended.notice.id != again.notice.id


def test_a_storm_of_which_an_end_is_never_noticed_clears_with_the_others() -> None:
    open_ = {"id-1", "id-2"}
    stage = Fold(1, S, counters=Counters(), is_open=open_.__contains__)
    stage.on_notices(crossings(0, 1, 2), 5 * S)
    assert said(stage.on_time(6 * S)) == [(EXCEEDED, 2)]
    stage.on_notices([notice(1, 7 * S, CLEARED)], 7 * S)
    open_.clear()
    assert stage.on_time(6 * S + FORGET_NS) == []
    assert said(stage.on_time(7 * S + FORGET_NS)) == [(CLEARED, 1)]


def test_a_storm_that_lasts_is_one_fold_and_none_of_it_is_passed_on_singly() -> None:
    stage = fold()
    passed_on = []
    for number in range(40):  # ten in each second
        now_ns = 5 * S + number * S // 10
        passed_on += stage.on_notices([notice(number, now_ns)], now_ns)
    passed_on += stage.on_time(13 * S)
    assert said(passed_on) == [*[(EXCEEDED, 0)] * 3, (EXCEEDED, 10), (EXCEEDED, 20), (EXCEEDED, 7)]
    assert len({one.notice.id for one in folded(passed_on[3:])}) == 1
    assert [one.notice.ns for one in folded(passed_on[3:])] == [5 * S + n * S // 10 for n in (3, 13, 33)]


def test_the_longer_a_storm_lasts_the_fewer_are_its_alerts() -> None:
    stage = fold()
    passed_on = []
    for number in range(1000):  # ten in each second
        now_ns = 5 * S + number * S // 10
        passed_on += stage.on_notices([notice(number, now_ns)], now_ns)
    counts = [one.count for one in folded(passed_on[3:])]
    assert counts == [10, 20, 40, *[80] * 11]


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


def test_what_is_due_is_passed_on_before_what_comes_after_it() -> None:
    stage = fold(above=1)
    stage.on_notices(crossings(1, 2), 5 * S)
    passed_on = stage.on_notices([notice(2, 6 * S, CLEARED)], 6 * S)
    assert said(passed_on) == [(EXCEEDED, 1)]
    assert said(stage.flush()) == [(CLEARED, 1)]  # type: ignore[arg-type]


def test_at_the_stop_all_is_passed_on() -> None:
    stage = fold(above=1)
    stage.on_notices([*crossings(1, 2, 3), notice(2, 5 * S, CLEARED), notice(3, 5 * S, ONGOING)], 5 * S)
    assert [(one.notice.event, one.count) for one in stage.flush()] == [
        (EXCEEDED, 2), (ONGOING, 1), (CLEARED, 1),
    ]  # fmt: skip
    assert stage.next_due_ns() is None
    assert stage.flush() == []


def test_ends_without_a_notice_are_looked_for() -> None:
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


def test_an_end_with_a_notice_stays_with_its_fold_whenever_it_comes() -> None:
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
    assert len(stage.on_notices(crossings(5, 6, 7), 5 * S)) == 1
    stage.above = 1
    assert stage.on_notices(crossings(8), 5 * S) == []
    stage.window_ns = 7 * S
    assert stage.next_due_ns() == 6 * S  # what was collected goes by the window of then
    stage.above = 0
    assert len(stage.on_notices([*crossings(9), notice(4, 5 * S, CLEARED)], 5 * S)) == 1
    assert said(stage.on_time(12 * S)) == [(EXCEEDED, 4)]
    assert said(stage.flush()) == [(CLEARED, 1)]  # type: ignore[arg-type]
