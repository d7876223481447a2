# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What advice counts, of looks each 10 s, holds against the judge itself, run on each second of the same queue."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.counters import Counters
from sockbpf.judge.advice import Count, Looks, Told, count, grain_of, looks_of, replay, times_of
from sockbpf.judge.advice_service import flaps_marked
from sockbpf.judge.flapping import Flapping
from sockbpf.judge.levels import Levels, same_for_all
from sockbpf.judge.policy import Policy
from sockbpf.record.alert import CLEARED, EXCEEDED
from sockbpf.record.event import Direction
from tests.unit.policies import TCP, S, nobody, sweep

STEP_S = 10
DAY_S = 86_400

SIZES = st.sampled_from([0, 0, 30, 75, 85, 110, 170, 230, 330, 900])
SERIES = st.lists(st.tuples(SIZES, st.integers(1, 60)), min_size=1, max_size=25).map(
    lambda parts: [size for size, length in parts for _ in range(length)] + [0] * 30
)
"""A size for each second."""
QUICK = st.lists(st.tuples(st.sampled_from([0, 90, 900]), st.integers(1, 9)), min_size=5, max_size=60).map(
    lambda parts: [size for size, length in parts for _ in range(length)] + [0] * 100
)
HOLDS = st.sampled_from([0, 10, 20, 35, 60])


def levels(threshold: int, hold_s: int = 0) -> Levels:
    return Levels(threshold, int(threshold * 0.8), hold_s * S, 60 * S)


def judged(series: list[int], its: Levels, flapping: Flapping | None = None) -> list[Told]:
    """Return what the judge tells if it looks each second; `flapping` counts what it does not pass on."""
    made = Policy(same_for_all({Direction.SEND: its, Direction.RECV: its}), Counters(), "", nobody)
    begun, told = {}, []
    for at_s, size in enumerate(series):
        if not flapping and not any(series[max(at_s - 1, 0) : at_s + 1]):
            continue  # it was empty, and is
        made.sweep_begins()
        notices = made.on_time(at_s * S) + made.on_sweep(sweep(at_s * S, (TCP, 0, size)), lambda *_: True)
        for notice in flapping.on_notices(notices, at_s * S) if flapping else notices:
            if notice.event == EXCEEDED:
                begun[notice.id] = notice.since_ns
            elif notice.event == CLEARED:
                since_ns = begun.pop(notice.id)
                told.append(Told(since_ns / S, notice.ns // S, notice.peak, its.threshold))
    assert not begun
    return told


def looked(series: list[int], phases: list[int]) -> Looks:
    """Return what the history has of it: one look in each step, at any instant of it, and none of what is empty."""
    sizes = {
        step: size
        for step in range(0, len(series) - STEP_S, STEP_S)
        if (size := series[step + phases[step // STEP_S % len(phases)]])
    }
    return looks_of(sizes, STEP_S)


def within(outer: list[Told], inner: list[Told]) -> int:
    """Return how many of the outer ones have one of the inner ones within."""
    return sum(any(one.start_s <= each.start_s < one.end_s for each in inner) for one in outer)


@given(SERIES, st.integers(1, 12), SIZES)
@settings(deadline=None)  # each runs the judge for each second
def test_higher_thresholds_are_counted_exactly(series: list[int], more: int, low: int) -> None:
    present, higher = levels(low + 60), levels(low + 60 * more)
    told = judged(series, present)
    found = count(higher, present, told, looked(series, [3]))
    truth = judged(series, higher)
    assert found.is_exact
    assert found.least == within(told, truth) <= len(truth)
    assert found.seen == found.least


@given(SERIES, HOLDS, HOLDS)
@settings(deadline=None)  # each runs the judge for each second
def test_longer_holds_are_counted_exactly(series: list[int], hold_s: int, more_s: int) -> None:
    present, longer = levels(100, hold_s), levels(100, hold_s + more_s)
    found = count(longer, present, judged(series, present), looked(series, [3]))
    assert found == (len(judged(series, longer)),) * 3


@given(
    SERIES,
    st.sampled_from([60, 100, 200, 300]),
    st.sampled_from([60, 100, 200, 300]),
    HOLDS,
    HOLDS,
    st.lists(st.integers(0, STEP_S - 1), min_size=1, max_size=9),
)
@settings(deadline=None)  # each runs the judge for each second
def test_every_count_is_within_its_bounds(  # noqa: PLR0917  each is drawn
    series: list[int], threshold: int, other: int, hold_s: int, other_s: int, phases: list[int]
) -> None:
    """Lower thresholds, shorter holds and all that mixes them."""
    present, asked = levels(threshold, hold_s), levels(other, other_s)
    told = judged(series, present)
    found = count(asked, present, told, looked(series, phases))
    truth = judged(series, asked)
    is_within = other >= threshold and other_s >= hold_s
    number = within(told, truth) if is_within else len(truth)
    assert found.least <= number
    assert found.most is None or number <= found.most
    assert found.least <= found.seen
    assert (found.most is None) == (other_s < 2 * STEP_S and not is_within)


@given(QUICK, st.integers(0, 3), st.integers(0, 20), st.integers(1, 3), st.integers(1, 7))
@settings(deadline=None)  # each runs the judge for each second
def test_flaps_are_within_the_bounds(
    series: list[int], hold_s: int, more_s: int, times: int, above: int
) -> None:
    """Of a queue that flaps only one alert tells, which lasts longer than each of its crossings."""
    present, asked = levels(60, hold_s), levels(60 * times, hold_s + more_s)
    flapping = Flapping(above, 60 * S, 10**6 * S, Counters())
    told = flaps_marked(judged(series, present, flapping), above, 60)
    found = count(asked, present, told, looked(series, [3]))
    number = within(told, judged(series, asked))
    assert found.least <= number
    assert found.most is None or number <= found.most


def test_what_is_joined_proves_no_hold() -> None:
    told = [Told(100, 160, 50, 40, is_joined=True), Told(300, 360, 50, 40)]
    looks = looks_of(dict.fromkeys((100, 150, 300, 310, 320, 330, 340, 350), 50), STEP_S)
    assert count(levels(40, 20), levels(40), told, looks) == (1, 1, 2)
    assert count(levels(20, 60), levels(40), told, looks).least == 1


def test_what_other_settings_told_is_not_what_the_present_ones_did() -> None:
    """It may have lasted longer than the present hold, but not above the present threshold."""
    told = [Told(100, 160, 90, 20), Told(300, 360, 90, 40)]
    looks = looks_of(dict.fromkeys((100, 150, 300, 310, 320, 330, 340, 350), 90), STEP_S)
    assert count(levels(40, 30), levels(40, 30), told, looks) == (1, 1, 2)
    assert count(levels(40), levels(40), told, looks).is_exact


def test_looks_bound_nothing_where_samples_of_what_was_told_are_lost() -> None:
    told, none = [Told(100, 160, 90, 40), Told(300, 360, 90, 40)], looks_of({}, STEP_S)
    assert count(levels(20, 30), levels(40), told, none) == (2, 2, None)
    assert count(levels(40, 30), levels(40), told, none) == (2, 2, 2)


def test_an_end_that_was_not_told_bounds_less() -> None:
    told = [Told(100, 130, 50, 40, is_whole=False), Told(200, 230, 50, 40)]
    looks = looks_of(dict.fromkeys((100, 110, 120, 200, 210, 220), 50), STEP_S)
    assert count(levels(40), levels(40), told, looks) == (2, 2, 2)
    assert count(levels(45), levels(40), told, looks) == (2, 2, 2)
    assert count(levels(70), levels(40), told, looks) == (0, 0, 1)
    assert count(levels(40, 15), levels(40), told, looks) == (2, 2, 2)


def test_a_week_of_services_by_the_judge_and_by_advice() -> None:
    """A backup at 02:00 each night, an hour of a slow client, and bursts that no look sees."""
    week = [0] * (7 * DAY_S)
    for day in range(7):
        begin = day * DAY_S + 2 * 3600
        week[begin : begin + 300] = [90_000] * 300
        week[begin + 400 : begin + 460] = [300_000 if day < 3 else 120_000] * 60
    week[200_000:203_600] = [2_000_000] * 3600
    week[300_001:300_003] = [70_000] * 2
    present = levels(65_536)
    told = judged(week, present)
    looks = looked(week, [5])
    assert len(told) == 7 * 2 + 1 + 1
    for threshold, number in ((100_000, 8), (262_144, 4), (1_048_576, 1), (4_194_304, 0)):
        assert count(levels(threshold), present, told, looks) == (number,) * 3
        assert number == len(judged(week, levels(threshold)))
    coarse = levels(1_048_576)
    few = judged(week, coarse)
    assert count(levels(65_536), coarse, few, looks) == Count(15, 15, None)
    assert count(levels(65_536, 30), coarse, few, looks) == Count(1, 15, 7 * (30 // 2 + 6 // 2) + 360 // 2)


def test_queues_that_are_over_together_are_one_time() -> None:
    told = [Told(0, 50, 9, 1), Told(10, 20, 9, 1), Told(45, 60, 9, 1), Told(61, 62, 9, 1)]
    assert [len(time) for time in times_of(told)] == [3, 1]
    assert times_of([]) == []


def test_replay_ends_what_is_followed_by_no_look() -> None:
    looks = looks_of({0: 50, 10: 90, 20: 50, 50: 50, 60: 50, 70: 50}, STEP_S)
    assert replay(looks, levels(40)) == [0, 50]
    assert replay(looks, levels(60)) == [10]
    assert replay(looks, levels(40, 30)) == [0, 50]
    assert replay(looks, levels(40, 31)) == []
    assert replay(looks, replace(levels(40), clear=95)) == [0, 20, 50, 70]


def test_the_grain_is_that_of_the_busiest_series() -> None:
    assert grain_of([]) == grain_of([[], [10]]) == 10
    assert grain_of([[0, 30, 60, 90, 200], [0, 500, 1000]]) == 30
    assert grain_of([[0, 86_400]]) == 300
