# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The open episodes of one instant: how many of which kind, the worst first, what is held last."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sockbpf.judge.episodes import Episode
from sockbpf.judge.levels import Levels
from sockbpf.judge.open_now import open_now
from sockbpf.record.event import Mode
from sockbpf.record.facts import Condition, Facts, Severity
from sockbpf.record.rule import Applied
from tests.unit.policies import RECV, SEND, TCP, UDP, S

NOW_NS = 1009 * S
LEVELS = Levels(1000, 800, hold_ns=0, repeat_ns=S)


def episode(size: int, *, since_s: int = 1000, **more: Any) -> Episode:
    made = Episode(
        socket=TCP, direction=SEND, mode=Mode.EBPF, address=1, since_ns=since_s * S, ns=since_s * S,
        size=size, peak=size, threshold=1000, levels=LEVELS, id=f"{size}",
    )  # fmt: skip
    return replace(made, **more)


def test_nothing_is_open() -> None:
    found = open_now([], [], NOW_NS, 7)
    assert (found.over, found.stalled, found.held, found.oldest_ns, found.worst) == (0, 0, 0, None, ())


def test_each_kind_is_counted_and_the_oldest_that_was_told_is_known() -> None:
    held = replace(episode(9001, since_s=3), held=True)
    stalled = episode(1001, since_s=7, condition=Condition.STALLED)
    found = open_now([episode(2003), held, stalled, episode(2011)], [], NOW_NS, 7)
    assert (found.over, found.stalled, found.held, found.oldest_ns) == (2, 1, 1, 7 * S)


def test_the_worst_comes_first() -> None:
    critical = episode(1009, severity=Severity.CRITICAL)
    by_rule = episode(1013, levels=replace(LEVELS, applied=Applied(rule="r", severity="critical")))
    by_rule.applied = by_rule.levels.applied
    stalled = episode(1019, condition=Condition.STALLED)
    full = episode(11, condition=Condition.FILL, facts=Facts(limit=10_000, charged=9000), socket=UDP)
    old, new = episode(5003, since_s=5), episode(5003, since_s=900)
    held = replace(episode(10**6), held=True)
    found = open_now([held, new, full, stalled, old, by_rule, critical], [], NOW_NS, 100)
    assert [each.notice.id for each in found.worst] == [
        each.id for each in (by_rule, critical, stalled, full, old, new, held)
    ]
    assert [each.held for each in found.worst] == [False] * 6 + [True]
    assert found.worst[4].notice.since_ns == 5 * S
    assert all(each.notice.ns == NOW_NS for each in found.worst)


def test_so_many_are_shown_and_all_are_counted() -> None:
    found = open_now([episode(1000 + n, direction=RECV) for n in range(10_007)], [], NOW_NS, 3)
    assert [each.notice.size for each in found.worst] == [11_006, 11_005, 11_004]
    assert found.over == 10_007


def test_notices_of_other_judges_count_too() -> None:
    (one,) = (each.notice for each in open_now([episode(3001)], [], NOW_NS, 1).worst)
    found = open_now([episode(2003)], [replace(one, id="rate")], NOW_NS, 7)
    assert [each.notice.id for each in found.worst] == ["rate", "2003"]
    assert found.over == 2
