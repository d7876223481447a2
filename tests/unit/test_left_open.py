# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A restart: what is still over goes on as the same episode, what is not has ended while nobody watched."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sockbpf.counters import Counters
from sockbpf.judge.episodes import Episodes
from sockbpf.judge.policy import Policy
from sockbpf.monitor.left_open import LeftOpen
from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Folded, Notice
from sockbpf.record.event import Direction
from sockbpf.record.left import Left, lefts_of_notice
from tests.unit.folds import fold
from tests.unit.policies import RECV, SEND, TCP, S, back, over, policy, sweep, words

UNIX_NS = 1795343000 * S
OTHERS = Episodes(Counters(), "others", lambda _: (0, ""))
OTHER = replace(TCP, remote_port=4711)


def left_by(notices: list[Notice], **changed: object) -> list[Left]:
    """Return what is kept of these alerts."""
    lefts = [left for notice in notices for left in lefts_of_notice(notice, "boot-1", UNIX_NS)]
    return [replace(left, **changed) for left in lefts]  # type: ignore[arg-type]


def restarted(lefts: list[Left], boot: str = "boot-1") -> tuple[Policy, LeftOpen]:
    rules = policy(salt="a later run")
    left = LeftOpen(lefts, boot, lambda left: rules.episodes if left.direction == RECV else OTHERS, 45 * S)
    assert left.ended(80 * S, UNIX_NS) == [], "the first looks are not done"
    left.arm(90 * S)
    return rules, left


def told_before() -> list[Notice]:
    return policy().on_event(over(5 * S))


def test_what_is_still_over_is_the_same_episode_and_no_second_one_is_told() -> None:
    (told,) = told_before()
    rules, left = restarted(left_by([told], peak=7001))
    assert left.is_waiting(told.id)
    (goes_on,) = rules.on_event(over(90 * S))
    assert (goes_on.event, goes_on.id, goes_on.since_ns) == (ONGOING, told.id, 5 * S)
    assert left.ended(91 * S, UNIX_NS) == []
    assert not left.is_waiting(told.id)
    (episode,) = rules.open.values()
    assert (episode.id, episode.since_ns, episode.peak) == (told.id, 5 * S, 7001)
    assert rules.is_open(told.id)
    assert rules.on_time(91 * S) == []
    assert words(rules.on_time(90 * S + episode.levels.repeat_ns)) == [ONGOING]
    (ended,) = rules.on_event(back(90 * S, 95 * S))
    assert (ended.event, ended.id, ended.since_ns) == (CLEARED, told.id, 5 * S)
    assert words(rules.on_event(over(99 * S))) == [EXCEEDED], "the next crossing is another episode"


def test_it_is_found_by_a_sweep_too() -> None:
    (told,) = told_before()
    rules, left = restarted(left_by([told]))
    rules.sweep_begins()
    assert words(rules.on_sweep(sweep(90 * S, (TCP, 0, 2003)), lambda _address, _direction: False)) == [
        ONGOING
    ]
    assert left.ended(91 * S, UNIX_NS) == []
    assert rules.is_open(told.id)


def test_what_is_not_over_any_more_ended_meanwhile() -> None:
    (told,) = told_before()
    rules, left = restarted(left_by([told]))
    assert words(rules.on_event(over(90 * S, socket=OTHER))) == [EXCEEDED]
    (ended,) = left.ended(91 * S, UNIX_NS)
    assert (ended.event, ended.id, ended.since_ns, ended.ns) == (CLEARED, told.id, 5 * S, 91 * S)
    assert ended.why
    assert ended.why.reason == (
        "it ended between 2026-11-22 10:23:25 UTC and 2026-11-22 10:24:51 UTC, while no monitor watched"
    )
    assert left.ended(92 * S, UNIX_NS) == []
    assert words(rules.on_event(over(93 * S))) == [EXCEEDED], "it is not taken up again after its end"


def test_the_other_queue_of_the_socket_is_another() -> None:
    rules, left = restarted(left_by(told_before()))
    assert words(rules.on_event(over(90 * S, direction=SEND))) == [EXCEEDED]
    assert words(left.ended(91 * S, UNIX_NS)) == [CLEARED]


@pytest.mark.parametrize(
    ("changed", "boot", "reason"),
    [
        ({}, "boot-2", "it ended with the boot of the host"),
        ({"is_fold": True}, "boot-1", "while no monitor watched"),
        ({"direction": int(SEND)}, "boot-1", "while no monitor watched"),
    ],
)
def test_nobody_goes_on_with_these(changed: dict[str, object], boot: str, reason: str) -> None:
    rules, left = restarted(left_by(told_before(), **changed), boot)
    assert words(rules.on_event(over(90 * S))) == [EXCEEDED]
    (ended,) = left.ended(91 * S, UNIX_NS)
    assert ended.why
    assert reason in ended.why.reason


@pytest.mark.parametrize(
    ("changed", "found_s"),
    [
        ({"condition": "stalled", "direction": int(Direction.ACCEPT)}, 45),
        ({"counter": "UdpInErrors", "seconds": 60}, 70),
    ],
)
def test_what_needs_time_to_be_found_again_has_it(changed: dict[str, object], found_s: int) -> None:
    _, left = restarted(left_by(told_before(), **changed))
    assert left.ended((90 + found_s) * S - 1, UNIX_NS) == []
    assert left
    assert words(left.ended((90 + found_s) * S, UNIX_NS)) == [CLEARED]
    assert not left
    assert not OTHERS.left


def test_a_fold_goes_on_with_what_of_it_is_still_over() -> None:
    told = told_before()[0], replace(told_before()[0], id="other", socket=OTHER)
    stage = fold(above=1)
    folded = Folded(replace(told[0], id="fold"), 2, (), members=told)
    rules, left = restarted(lefts_of_notice(folded, "boot-1", UNIX_NS))
    for storm, members in left.folds():
        stage.take_up(storm, members)
    stage._is_open = lambda id_: rules.is_open(id_) or left.is_waiting(id_)
    assert stage.on_notices(rules.on_event(over(90 * S)), 90 * S) == []
    assert stage.on_notices(left.ended(90 * S + 7, UNIX_NS), 90 * S + 7) == []
    (goes_on,) = stage.pass_on()
    assert isinstance(goes_on, Folded)
    assert (goes_on.notice.event, goes_on.notice.id, goes_on.count) == (ONGOING, "fold", 1)
    assert goes_on.notice.since_ns == 5 * S
    assert stage.on_notices(rules.on_event(back(90 * S, 95 * S)), 95 * S) == []
    (ended,) = stage.on_time(99 * S)
    assert isinstance(ended, Folded)
    assert (ended.notice.event, ended.notice.id, ended.count) == (CLEARED, "fold", 2)


def test_of_two_of_one_queue_the_one_told_last_goes_on() -> None:
    (told,) = told_before()
    first, second = left_by([told, replace(told, id="later")])
    rules, left = restarted([first, second])
    assert words(rules.on_event(over(90 * S))) == [ONGOING]
    assert [ended.id for ended in left.ended(91 * S, UNIX_NS)] == [told.id]
    assert rules.is_open("later")
