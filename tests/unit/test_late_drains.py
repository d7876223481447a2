# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Hooks that see a TCP queue drain may come late: every episode is told, once, and none is invented."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.record.event import What
from tests.unit.drains import MOST, Rule, Truth, steps

THRESHOLD = 1009
LEVELS = st.sampled_from([0, 1, 503, THRESHOLD])
"""Clear levels."""

FROM = st.sampled_from([0, 17, MOST // 2 - 1009, MOST - 503])
"""The first sequence number: it wraps."""

STEPS = steps(most=2003, threshold=THRESHOLD, clear=503)


def play(taken: list[tuple[str, int]], clear: int, first: int, *, sends: bool) -> tuple[Rule, Truth]:
    rule = Rule(THRESHOLD, clear, filled_to=first, drained_to=first)
    truth = Truth(THRESHOLD, clear)
    for step, size in taken:
        if step == "grow" and sends:
            chunks = [size // 3, size - size // 3]
            rule.send(chunks)
            for chunk in chunks:
                truth.change(chunk)
        elif step == "grow":
            rule.grow(size)
            truth.change(size)
        elif step == "drain":
            off = min(size, truth.size)
            rule.drain(off)
            truth.change(-off)
        elif step == "look":
            rule.look()
        else:
            rule.attached = step == "attach"
    return rule, truth


@settings(max_examples=1009, deadline=None)
@given(taken=STEPS, clear=LEVELS, first=FROM, sends=st.booleans())
def test_each_episode_is_told_once_however_late_the_hooks_come(
    taken: list[tuple[str, int]], clear: int, first: int, sends: bool
) -> None:
    rule, truth = play(taken, clear, first, sends=sends)
    assert rule.said == truth.said[: len(rule.said)], "nothing is invented, and the order is kept"
    assert rule.said.count(What.OVER) == truth.said.count(What.OVER), "a beginning waits for nothing"
    rule.look()
    assert rule.said == truth.said, "what drained before the hooks came ends by the look"


@settings(deadline=None)
@given(taken=STEPS, clear=LEVELS, sends=st.booleans())
def test_a_drain_is_told_at_once_while_the_hooks_are_there(
    taken: list[tuple[str, int]], clear: int, sends: bool
) -> None:
    attached = [("attach", 0), *(step for step in taken if step[0] != "detach")]
    rule, truth = play(attached, clear, 0, sends=sends)
    assert rule.said == truth.said


def test_bursts_that_follow_one_another_before_the_hooks_come_are_told_apart() -> None:
    bursts = [("grow", 2003), ("drain", 2003)] * 1009
    for sends in (False, True):
        rule, _ = play(bursts, THRESHOLD, 0, sends=sends)
        assert rule.said == ([What.OVER, What.BACK] * 1009)[:-1], "the last has not ended for anybody to see"
