# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is advised, and why."""

from __future__ import annotations

import pytest

from sockbpf.judge.advice import Count, Looks, Told, looks_of
from sockbpf.judge.advice_proposal import (
    Proposal,
    Spread,
    in_words,
    ladder,
    propose,
    regular_hours,
    size,
    spread_of,
)
from sockbpf.judge.levels import Levels
from tests.unit.policies import S

DAY_S = 86_400
NIGHT_S = 2 * 3600
MIB = 2**20


def hour_of(at_s: float) -> int:
    return int(at_s) % DAY_S // 3600


def levels(threshold: int, hold_s: int = 0) -> Levels:
    return Levels(threshold, int(threshold * 0.8), hold_s * S, 60 * S)


def proposed(present: Levels, told: list[Told], looks: Looks) -> Proposal:
    return propose(present, ladder(present, 0.8, told, looks), told, looks, hour_of)


def told_each_night(peak: int, *, comm: str = "", length_s: int = 20) -> list[Told]:
    starts = [day * DAY_S + NIGHT_S + 60 * more for day in range(7) for more in (0, 5)]
    return [Told(start, start + length_s, peak, MIB, comm) for start in starts]


def looks_of_told(told: list[Told]) -> Looks:
    return looks_of(
        {at_s: each.peak for each in told for at_s in range(int(each.start_s), int(each.end_s), 10)}, 10
    )


def test_a_longer_hold_is_proposed_before_a_higher_threshold() -> None:
    told = told_each_night(5 * MIB)
    found = proposed(levels(MIB), told, looks_of_told(told))
    assert found.rung is not None
    assert (found.rung.levels.threshold, found.rung.levels.hold_ns) == (MIB, 30 * S)
    assert found.reason == (
        "1MiB told 14 times, most of them between 02:00 and 03:00, 1MiB for 30 s would never have told"
    )


def test_a_higher_threshold_is_proposed_where_no_hold_is_long_enough() -> None:
    told = [*told_each_night(5 * MIB, length_s=280), Told(400_000, 400_900, 70 * MIB, MIB)]
    told = [each._replace(end_s=each.start_s + 3000) for each in told[::2]]
    found = proposed(levels(MIB), told, looks_of_told(told))
    assert found.rung is not None
    assert found.rung.levels.threshold == 8 * MIB
    assert found.rung.count == Count(1, 1, 1)
    assert found.reason.endswith("8MiB would have told once")


def test_a_process_that_is_over_each_night_gets_a_rule_of_its_own() -> None:
    told = [*told_each_night(5 * MIB, comm="rsync"), Told(400_000, 400_900, 70 * MIB, MIB, "nginx")]
    found = proposed(levels(MIB), told, looks_of_told(told))
    assert found.process == "rsync"
    assert found.rung is not None
    assert found.rung.levels.threshold == 8 * MIB
    assert found.rung.count == Count(1, 1, 1)
    assert found.reason == (
        "told 15 times, 14 of them of rsync, between 02:00 and 03:00: a rule for it, 8MiB, would have left 1"
    )


def test_ends_that_were_not_told_bound_what_a_rule_for_a_process_leaves() -> None:
    told = told_each_night(5 * MIB, comm="rsync")
    told[:2] = [each._replace(is_whole=False) for each in told[:2]]
    found = proposed(levels(MIB), told, looks_of_told(told))
    assert found.rung is not None
    assert found.rung.count == Count(0, 0, 2)
    told[2:6] = [each._replace(is_whole=False) for each in told[2:6]]
    assert not proposed(levels(MIB), told, looks_of_told(told)).process


def test_a_rule_for_a_process_has_a_margin() -> None:
    told = told_each_night(8 * MIB, comm="rsync")
    found = proposed(levels(MIB), told, looks_of_told(told))
    assert found.rung is not None
    assert found.rung.levels.threshold == 16 * MIB


def test_a_threshold_far_from_all_that_was_seen_comes_closer() -> None:
    week = range(0, 7 * DAY_S, 600)
    sizes = dict.fromkeys(week, 3000) | {
        day * DAY_S + NIGHT_S + more: 40_000 for day in range(7) for more in range(0, 100, 10)
    }
    found = proposed(levels(MIB, 10), [], looks_of(sizes, 10))
    assert found.rung is not None
    assert (found.rung.levels.threshold, found.rung.levels.hold_ns) == (64 * 1024, 30 * S)
    assert found.rung.count == Count(0, 0, 0)
    assert "64KiB for 30 s would never have told" in found.reason
    assert found.reason.endswith("most of them between 02:00 and 03:00")


@pytest.mark.parametrize(
    ("told", "sizes"),
    [([], {}), ([], {0: 500_000}), ([Told(0, 20, 2 * MIB, MIB)] * 3, {0: 2 * MIB, 10: 2 * MIB})],
)
def test_what_is_told_seldom_stays(told: list[Told], sizes: dict[int, int]) -> None:
    found = proposed(levels(MIB), told, looks_of(sizes, 10))
    assert found.rung is None
    assert found.reason.endswith(": it stays")


def test_the_ladder_has_each_rung_once_and_no_threshold_that_no_queue_reaches() -> None:
    rungs = ladder(levels(MIB), 0.8, [Told(0, 9, 2**31 - 5, MIB)], looks_of({0: 70_000}, 10))
    tried = [(rung.levels.threshold, rung.levels.hold_ns) for rung in rungs]
    assert tried == sorted(set(tried))
    assert tried[-1][0] == 2**31 - 1
    assert (69 * 1024, 30 * S) in tried


@pytest.mark.parametrize(
    ("starts", "hours"),
    [
        ([], None),
        ([2 * 3600, 2 * 3600 + 5, 3 * 3600], None),
        ([day * DAY_S + 23 * 3600 + 3599 * (day % 2) * 1 for day in range(5)], (23, 0)),
        ([day * DAY_S + (23 + day % 2) % 24 * 3600 for day in range(6)], (23, 1)),
        ([day * DAY_S + day * 4 * 3600 for day in range(6)], None),
    ],
)
def test_hours_are_regular_if_they_hold_most_of_three_days(
    starts: list[float], hours: tuple[int, int] | None
) -> None:
    assert regular_hours(starts, hour_of) == hours


def test_numbers_in_words() -> None:
    assert [size(each) for each in (100, 2048, 5 * MIB, 2**31 - 1, 3 * 2**30)] == [
        "100", "2KiB", "5MiB", "2147483647", "3GiB",
    ]  # fmt: skip
    assert in_words(Count(1, 1, 1)) == "once"
    assert in_words(Count(1, 3, 9)) == "about 3 times (1 at least, at most 9)"
    assert in_words(Count(2, 3, None)) == "about 3 times (2 at least, perhaps more)"
    assert spread_of([]) == Spread(0, 0, 0)
    assert spread_of(range(1, 101)) == Spread(50, 99, 100)
