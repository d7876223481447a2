# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is due when, and how long the loop may sleep: instants in, pauses out."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from sockbpf.monitor.schedule import (
    APART_S,
    BUSY_S,
    IDLE_S,
    LOOKS_AFTER,
    SETTLE_S,
    SWEEP_SHARE,
    TIDY_S,
    Schedule,
    Timing,
    Waits,
)

TIMING = Timing(sweep_s=31.0, look_s=1.5, heartbeat_s=math.inf)
QUIET = Waits()
NOW_S = 1009.0


def settled(timing: Timing = TIMING, now_s: float = NOW_S) -> Schedule:
    """Return a schedule of which all that is due at the start has been taken."""
    schedule = Schedule(timing, now_s)
    assert schedule.take_look(now_s)
    assert schedule.take_tidying(now_s)
    assert schedule.is_sweep_due(now_s)
    schedule.sweep_begins(now_s)
    return schedule


def test_a_sweep_a_look_and_a_tidying_are_due_at_the_start() -> None:
    assert Schedule(TIMING, NOW_S).pause_s(NOW_S, QUIET) == 0
    settled()


@pytest.mark.parametrize(
    ("waits", "pause_s"),
    [
        (QUIET, 31.0),
        (replace(QUIET, due_s=NOW_S + 7), 7.0),
        (replace(QUIET, due_s=NOW_S - 7), 0.0),
        (replace(QUIET, due_ns=(None, None)), 31.0),
        (replace(QUIET, due_ns=(None, 1_012_500_000_000)), 3.5),
        (replace(QUIET, due_ns=(1_011_000_000_000, 1_012_000_000_000), sweeping=True), 2.0),
        (replace(QUIET, watching=True), 1.5),
        (replace(QUIET, delivering=True), float(TIDY_S)),
        (replace(QUIET, sweeping=True), float(IDLE_S)),
        (replace(QUIET, sweeping=True, delivering=True), float(IDLE_S)),
        (replace(QUIET, sweeping=True, watching=True), 1.5),
        (replace(QUIET, reloading=True), BUSY_S),
    ],
    ids=str,
)
def test_the_pause_ends_at_the_first_instant_that_is_due(waits: Waits, pause_s: float) -> None:
    assert settled().pause_s(NOW_S, waits) == pytest.approx(pause_s)


@pytest.mark.parametrize("heartbeat_s", [1.0, 3.0, 59.0])
def test_a_heartbeat_is_due_each_interval_whatever_else_is(heartbeat_s: float) -> None:
    schedule = settled(replace(TIMING, heartbeat_s=heartbeat_s))
    pause_s = schedule.pause_s(NOW_S, replace(QUIET, sweeping=True))
    assert pause_s == heartbeat_s
    assert not schedule.take_heartbeat(NOW_S + heartbeat_s - 0.001)
    assert schedule.take_heartbeat(NOW_S + heartbeat_s)
    assert not schedule.take_heartbeat(NOW_S + 2 * heartbeat_s - 0.001)


def test_without_a_heartbeat_none_is_ever_due() -> None:
    assert not settled().take_heartbeat(1e300)


def test_looks_follow_the_last_event_for_a_while() -> None:
    schedule = settled()
    schedule.heard(NOW_S)
    until_s = NOW_S + LOOKS_AFTER * TIMING.look_s
    assert schedule.pause_s(NOW_S, QUIET) == TIMING.look_s
    assert schedule.take_look(NOW_S + TIMING.look_s)
    assert schedule.take_look(until_s)
    assert schedule.pause_s(until_s + 0.001, QUIET) > TIMING.look_s, "nothing is open and nothing was said"


def test_a_look_that_was_taken_is_due_again_after_an_interval() -> None:
    schedule = settled()
    assert not schedule.take_look(NOW_S + 1.499)
    assert schedule.take_look(NOW_S + 1.5)
    assert not schedule.take_look(NOW_S + 1.5)
    schedule.look_at(NOW_S + 1.5)
    assert schedule.take_look(NOW_S + 1.5)


@pytest.mark.parametrize(("cost_s", "next_s"), [(0.01, 31.0), (1.0, 31.0), (3.0, 2.0 + 3 * SWEEP_SHARE)])
def test_sweeps_take_a_small_share_of_the_time(cost_s: float, next_s: float) -> None:
    schedule = settled()
    schedule.sweep_ended(NOW_S + 2, cost_s)
    assert schedule.pause_s(NOW_S, QUIET) == min(next_s, IDLE_S)
    assert not schedule.is_sweep_due(NOW_S + next_s - 0.001)
    assert schedule.is_sweep_due(NOW_S + next_s)
    rested_s = NOW_S + 2 + cost_s * SWEEP_SHARE
    assert not schedule.has_rested(rested_s - 0.001)
    assert schedule.has_rested(rested_s)


@pytest.mark.parametrize(
    ("due_s", "cost_s", "next_s"),
    [
        (7.0, 0.01, 7.0),
        (0.5, 0.01, APART_S),
        (-3.0, 0.01, APART_S),
        (7.0, 1.0, 0.3 + SWEEP_SHARE),
        (40.0, 0.01, 31.0),
    ],
)
def test_a_sweep_may_be_wanted_sooner(due_s: float, cost_s: float, next_s: float) -> None:
    """But not at once after the last one, and only when sweeps have taken a small share of the time."""
    schedule = settled()
    schedule.sweep_ended(NOW_S + 0.3, cost_s)
    schedule.sweep_by(NOW_S + due_s)
    assert schedule.pause_s(NOW_S, QUIET) == pytest.approx(next_s)


def test_a_sweep_that_cannot_begin_stays_due() -> None:
    schedule = settled()
    later_s = NOW_S + 40
    assert schedule.is_sweep_due(later_s)
    assert schedule.is_sweep_due(later_s)
    assert schedule.pause_s(later_s, replace(QUIET, sweeping=True)) == IDLE_S
    assert schedule.pause_s(later_s, QUIET) == 0


def test_other_settings_have_a_sweep_at_once_and_begin_the_heartbeat_anew() -> None:
    schedule = settled(replace(TIMING, heartbeat_s=5.0))
    schedule.use_timing(Timing(sweep_s=3.0, look_s=0.25, heartbeat_s=7.0), NOW_S + 4)
    assert schedule.is_sweep_due(NOW_S + 4)
    schedule.sweep_begins(NOW_S + 4)
    assert schedule.pause_s(NOW_S + 4, QUIET) == 3.0
    assert not schedule.take_heartbeat(NOW_S + 10.999)
    assert schedule.take_heartbeat(NOW_S + 11)
    assert schedule.take_look(NOW_S + 11)
    assert not schedule.take_look(NOW_S + 11.249)
    assert schedule.take_look(NOW_S + 11.25)


def test_what_drained_before_hooks_came_is_looked_for_soon_and_once_and_before_any_sweep_of_it() -> None:
    schedule = settled()
    later_s = NOW_S + 500
    assert not schedule.take_settled(later_s)
    schedule.settle(later_s)
    assert schedule.pause_s(later_s, replace(QUIET, sweeping=True)) == pytest.approx(SETTLE_S)
    assert not schedule.take_settled(later_s)
    assert not schedule.take_look(later_s), "a look was due long ago, but asks for a sweep"
    assert not schedule.has_rested(later_s)
    assert schedule.take_settled(later_s + SETTLE_S)
    assert schedule.take_look(later_s + SETTLE_S)
    assert schedule.has_rested(later_s + SETTLE_S)
    assert not schedule.take_settled(later_s + 500)
