# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""When a queue is stalled: sweeps made by hand in, notices out; and a plain model of what is true."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbpf.counters import Counters
from sockbpf.judge import stalls as module
from sockbpf.judge.stalls import Stalls
from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Notice, socket_of
from sockbpf.record.event import Direction, Mode, Protocol, Socket
from sockbpf.record.facts import Condition, Facts, Severity
from sockbpf.record.rule import StallSettings
from sockbpf.record.sweep import Reading, Sweep
from tests.unit.policies import NETNS, RECV, SEND, TCP, UDP, S

if TYPE_CHECKING:
    from collections.abc import Callable

AFTER = 15 * S
ABOVE = 1024
ESTAB, SYN_SENT, FIN_WAIT_1, CLOSE_WAIT, LAST_ACK, CLOSING = 1, 2, 4, 8, 9, 11


def by(settings: StallSettings) -> Callable[[Socket, Direction], StallSettings]:
    return lambda _socket, _direction: settings


def judge(*, held: bool = False, after_ns: int = AFTER, above: int = ABOVE) -> Stalls:
    settings = StallSettings(after_ns, above, 60 * S)
    owners = {TCP.inode: (4711, "reader")}
    return Stalls(
        by(settings),
        Counters(),
        "salt",
        lambda inode: owners.get(inode, (0, "")),
        lambda _inode, _since_ns: held,
    )


def reading(
    recv: int = 2003, mark: int | None = 7, *, send: int = 0, sent: int | None = None, state: int = ESTAB,
    socket: Socket = TCP, unsure: int = 0,
) -> Reading:  # fmt: skip
    left = {direction: number for direction, number in ((SEND, sent), (RECV, mark)) if number is not None}
    facts = dict.fromkeys(Direction, Facts(131072, 4608, state))
    return Reading(socket, {SEND: send, RECV: recv}, unsure, facts, left)


def look(
    rules: Stalls, second: float, *readings: Reading, netns: int = NETNS, not_found: int = 0
) -> list[Notice]:
    """Have a sweep taken that ends a thousandth of a second after this one, and what is due then."""
    begun_ns = int(second * S)
    looked = frozenset((netns, protocol) for protocol in Protocol)
    gone = frozenset({not_found}) - {0}
    sweep = Sweep(begun_ns, begun_ns + S // 1000, looked, gone, readings)
    return rules.on_sweep(sweep) + rules.on_time(sweep.ended_ns)


def looks(rules: Stalls, seconds: tuple[float, ...], *readings: Reading) -> list[str]:
    return [notice.event for second in seconds for notice in look(rules, second, *readings)]


def test_it_is_told_once_nothing_has_left_for_so_long_and_its_end_when_something_does() -> None:
    rules = judge()
    assert looks(rules, (5, 10, 15, 20), reading()) == []
    assert rules.look_due_ns(20 * S) == 20 * S + S // 1000
    (begun,) = look(rules, 20.001, reading(recv=3001))
    assert (begun.event, begun.condition, begun.severity) == (EXCEEDED, Condition.STALLED, Severity.WARNING)
    assert begun.ns == begun.since_ns == 5 * S + S // 1000, "the end of the first look that saw it"
    assert (begun.size, begun.peak, begun.threshold, begun.mode) == (3001, 3001, ABOVE, Mode.POLL)
    assert (begun.pid, begun.comm, begun.facts) == (4711, "reader", Facts(131072, 4608, ESTAB))
    assert rules.is_open(begun.id)
    assert len(rules) == 1
    assert rules.look_due_ns(20 * S) is None
    (goes_on,) = look(rules, 81, reading(recv=4001))
    assert (goes_on.event, goes_on.size, goes_on.ns) == (ONGOING, 4001, 81 * S + S // 1000)
    (ended,) = look(rules, 82, reading(recv=3001, mark=1007))
    assert (ended.event, ended.id, ended.size, ended.peak) == (CLEARED, begun.id, 3001, 4001)
    assert (ended.ns, ended.since_ns) == (82 * S + S // 1000, begun.since_ns)
    assert looks(rules, (87, 92, 97), reading(recv=3001, mark=1007)) == []
    assert looks(rules, (97.1,), reading(recv=3001, mark=1007)) == [EXCEEDED], "it stands still again"


@pytest.mark.parametrize(
    "after",
    [
        (reading(recv=ABOVE),),
        (),
    ],
    ids=["at above", "not shown"],
)
def test_what_is_not_above_any_more_has_ended(after: tuple[Reading, ...]) -> None:
    rules = judge()
    assert looks(rules, (5, 21), reading()) == [EXCEEDED]
    events = looks(rules, (22, 23), *after)
    assert events == [CLEARED]
    assert not rules._standing
    assert not rules.open


def test_how_long_it_stands_still_is_known_before_it_is_stalled() -> None:
    rules = judge()
    for second in (1, 2, 9):
        look(rules, second, reading())
    assert rules.stood_still_ns(TCP, RECV, 10 * S) == 8 * S
    assert rules.stood_still_ns(TCP, SEND, 10 * S) == 0
    assert rules.stood_still_ns(TCP, RECV, 13 * S) == 0  # the last look is too long ago
    look(rules, 10, reading(mark=8))
    assert rules.stood_still_ns(TCP, RECV, 11 * S) == 0
    look(rules, 11)
    assert rules.stood_still_ns(TCP, RECV, 11 * S) == 0


def test_one_look_may_miss_it() -> None:
    rules = judge()
    look(rules, 5, reading())
    look(rules, 10)
    assert rules.look_due_ns(10 * S) is None
    assert looks(rules, (15, 20.1), reading()) == [EXCEEDED]
    assert looks(rules, (21,)) == []
    assert looks(rules, (22,), reading()) == []
    assert len(rules) == 1


def test_a_queue_that_moves_or_falls_at_times_is_not_stalled() -> None:
    rules = judge()
    for second in range(5, 300, 5):
        assert look(rules, second, reading(mark=second // 10)) == []
    for second in range(300, 600, 5):
        assert look(rules, second, reading(recv=2003 if second % 15 else ABOVE)) == []


def test_what_waits_long_must_be_above_all_that_time() -> None:
    rules = judge()
    assert looks(rules, (5, 10, 15, 20, 25), reading(recv=ABOVE)) == []
    assert looks(rules, (30, 35, 40, 45), reading()) == []
    assert looks(rules, (45.1,), reading()) == [EXCEEDED]


@pytest.mark.parametrize(
    ("direction", "state", "size", "is_stalled"),
    [
        (RECV, ESTAB, 1, True),
        (RECV, CLOSE_WAIT, 1, False),
        (RECV, CLOSE_WAIT, 2, True),
        (RECV, LAST_ACK, 1, False),
        (RECV, CLOSING, 1, False),
        (RECV, FIN_WAIT_1, 1, True),
        (SEND, FIN_WAIT_1, 1, False),
        (SEND, FIN_WAIT_1, 2, True),
        (SEND, CLOSING, 1, False),
        (SEND, LAST_ACK, 1, False),
        (SEND, CLOSE_WAIT, 1, True),
        (SEND, SYN_SENT, 1461, False),
        (SEND, ESTAB, 0, False),
    ],
)
def test_an_end_of_the_stream_is_no_byte(
    direction: Direction, state: int, size: int, *, is_stalled: bool
) -> None:
    rules = judge(above=0)
    recv, send = (size, 0) if direction is RECV else (0, size)
    told = looks(rules, (5, 21), reading(recv, send=send, sent=11, state=state))
    assert told == [EXCEEDED] * is_stalled


def test_without_a_number_nothing_is_known() -> None:
    rules = judge()
    assert looks(rules, (5, 10, 21, 40), reading(mark=None, socket=UDP)) == []
    assert looks(rules, (45, 50), reading(socket=UDP)) == []
    assert looks(rules, (55,), reading(mark=None, socket=UDP)) == [], "it was not readable at one look"
    assert looks(rules, (60.1,), reading(socket=UDP)) == [EXCEEDED]


def test_what_may_have_been_read_does_not_count() -> None:
    assert looks(judge(), (5, 21), reading(socket=UDP, unsure=1000)) == []


def test_each_queue_by_itself() -> None:
    rules = judge()
    other = replace(TCP, remote_port=40_013, inode=8_221)
    assert looks(rules, (5,), reading(send=4001, sent=3), reading(socket=other)) == []
    begun = look(rules, 21, reading(send=4001, sent=4), reading(socket=other))
    assert [(one.socket, one.direction) for one in begun] == [(TCP, RECV), (other, RECV)]
    (begun_too,) = look(rules, 36.1, reading(send=4001, sent=4), reading(socket=other))
    assert (begun_too.socket, begun_too.direction, begun_too.size) == (TCP, SEND, 4001)
    assert len({one.id for one in (*begun, begun_too)}) == 3


def test_a_connection_that_is_accepted_meanwhile_gets_its_owner() -> None:
    rules = judge()
    (begun,) = [
        one for second in (5, 21) for one in look(rules, second, reading(socket=replace(TCP, inode=0)))
    ]
    assert begun.pid == 0
    look(rules, 22, reading())
    (goes_on,) = look(rules, 90, reading())
    assert (goes_on.event, goes_on.pid) == (ONGOING, 4711)


def test_a_namespace_that_is_not_looked_at_ends_nothing() -> None:
    rules = judge(held=True)
    assert looks(rules, (5, 21), reading()) == [EXCEEDED]
    for second in range(22, 30):
        assert look(rules, second, netns=NETNS + 1, not_found=NETNS) == []
    assert len(rules) == 1
    rules._may_be_held = lambda _inode, _since_ns: False
    assert [one.event for s in (30, 31) for one in look(rules, s, netns=NETNS + 1, not_found=NETNS)] == [
        CLEARED
    ]


def test_what_is_looked_at_no_more_is_forgotten() -> None:
    for later_s, not_found in ((6, NETNS), (5 + module.KEPT_NS / S + 1, 0)):
        rules = judge(held=True)
        look(rules, 5, reading())
        look(rules, later_s, netns=NETNS + 1, not_found=not_found)
        assert not rules._standing


def test_other_settings_hold_from_the_next_sweep_on() -> None:
    rules = judge()
    assert looks(rules, (5, 15), reading()) == []
    rules.settings_of = by(StallSettings(10 * S, ABOVE, 60 * S))
    assert looks(rules, (16,), reading()) == [EXCEEDED]
    rules.settings_of = by(StallSettings(60 * S, ABOVE, 60 * S))
    assert looks(rules, (17,), reading()) == []
    rules.settings_of = by(StallSettings(60 * S, 2003, 60 * S))
    assert looks(rules, (18,), reading()) == [CLEARED]
    rules.settings_of = by(StallSettings(S, ABOVE, 60 * S))
    assert looks(rules, (19, 21), reading()) == [EXCEEDED]
    rules.settings_of = by(StallSettings(0, ABOVE, 60 * S))
    assert looks(rules, (22, 23), reading()) == [CLEARED]
    assert not rules._standing


def test_each_queue_stands_still_as_long_as_its_own_settings_allow() -> None:
    other = replace(TCP, remote_port=7, inode=7)
    slow = replace(TCP, remote_port=8, inode=8)
    rules = judge()
    own = {TCP.inode: 4 * S, other.inode: 0, slow.inode: 30 * S}
    rules.settings_of = lambda socket, _direction: StallSettings(own[socket.inode], ABOVE, 60 * S)
    readings = [reading(socket=socket) for socket in (TCP, other, slow)]
    assert look(rules, 1, *readings) == []
    assert rules.look_due_ns(2 * S) == 5 * S + S // 1000
    assert [socket_of(notice) for notice in look(rules, 6, *readings)] == [TCP]
    assert look(rules, 30, *readings) == []
    assert [socket_of(notice) for notice in look(rules, 32, *readings)] == [slow]


def test_not_more_than_so_many_are_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    rules = judge()
    many = [reading(socket=replace(TCP, remote_port=number, inode=number)) for number in range(1, 6)]
    assert looks(rules, (5,), *many) == []
    assert rules._counters.snapshot()["stalls_full"] == 2
    assert looks(rules, (21,), *many) == [EXCEEDED] * 3


# a plain model

Q = 3
SOCKETS = [replace(TCP, remote_port=number, inode=number) for number in range(1, Q + 1)]


@dataclass
class Queue:
    """A queue of bytes, and every look at it: instant, size, how many bytes have left it."""

    size: int = 0
    left: int = 0


STEPS = st.lists(
    st.tuples(st.integers(0, Q - 1), st.sampled_from(["write", "read", "all", "look"]), st.integers(1, 3000)),
    max_size=120,
)


@given(STEPS, st.integers(1, 9))
def test_a_queue_is_told_just_when_all_looks_of_that_time_show_it_still(
    steps: list[tuple[int, str, int]], after_s: int
) -> None:
    rules = judge(after_ns=after_s * S)
    queues = [Queue() for _ in range(Q)]
    seen: list[list[tuple[int, int, int]]] = [[] for _ in range(Q)]
    told: dict[int, bool] = dict.fromkeys(range(Q), False)
    second = 1
    for which, step, size in steps:
        queue = queues[which]
        if step == "write":
            queue.size += size
        elif step in {"read", "all"}:
            taken = min(queue.size, size) if step == "read" else queue.size
            queue.size, queue.left = queue.size - taken, queue.left + taken
        else:
            second += 1
            shown = [reading(recv=one.size, mark=one.left, socket=SOCKETS[n]) for n, one in enumerate(queues)]
            notices = {
                socket_of(one).inode - 1: one for one in look(rules, second, *shown) if one.event != ONGOING
            }
            for n, one in enumerate(queues):
                seen[n].append((second, one.size, one.left))
                is_stalled = still_since(seen[n], after_s)
                assert (n in notices) == (is_stalled != told[n])
                if n in notices:
                    assert notices[n].event == (EXCEEDED if is_stalled else CLEARED)
                told[n] = is_stalled
    assert len(rules) == sum(told.values())


def still_since(seen: list[tuple[int, int, int]], after_s: int) -> bool:
    """Tell whether the looks at a queue, to the last, show it above and still for that time, from end to begin."""
    last_s, _, left = seen[-1]
    since_s = None
    for second, size, left_then in reversed(seen):
        if size <= ABOVE or left_then != left:
            break
        since_s = second
    return since_s is not None and last_s * 1000 - (since_s * 1000 + 1) >= after_s * 1000
