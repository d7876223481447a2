# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which hosts fell silent together: each is in one group, and no group is longer than its hosts could need."""

from __future__ import annotations

import itertools
import random

from hypothesis import given
from hypothesis import strategies as st

from sockbpf.store.data.silent import Group, Silent, fell_silent

SECONDS = st.lists(
    st.builds(
        Silent,
        second=st.integers(0, 2000),
        beat_s=st.sampled_from([1.0, 60.0, 60.0, 300.0]),
        count=st.integers(1, 5),
        names=st.just(("a",)),
        trusted=st.booleans(),
    ),
    max_size=60,
)


def span(group: Group) -> int:
    return group.parts[-1].second - group.parts[0].second


@given(SECONDS)
def test_each_is_in_one_group_which_is_short(seconds: list[Silent]) -> None:
    groups = fell_silent(seconds)
    assert sorted((each for group in groups for each in group.parts), key=str) == sorted(seconds, key=str)
    for group in groups:
        longest = max(each.beat_s for each in seconds)
        assert span(group) <= 1.5 * longest
        assert len({each.trusted for each in group.parts}) == 1
        for one, other in zip(group.parts, group.parts[1:], strict=False):
            assert 0 <= other.second - one.second <= max(1.0, 0.5 * max(one.beat_s, other.beat_s))
    for trusted in (True, False):
        its = sorted(
            (group for group in groups if group.parts[0].trusted == trusted),
            key=lambda group: group.parts[0].second,
        )
        for earlier, later in itertools.pairwise(its):
            assert earlier.parts[-1].second <= later.parts[0].second


def test_a_rack_that_lost_power_is_one_group() -> None:
    chance = random.Random(7)
    died = [Silent(chance.randint(1000, 1060), 60.0, 1, (f"r{n}",), True) for n in range(300)]
    before, after = Silent(900, 60.0, 1, ("x",), True), Silent(1100, 60.0, 1, ("y",), True)
    groups = fell_silent([after, *died, before])
    assert [group.count for group in groups] == [1, 300, 1]
    assert sorted(groups[1].names) == sorted(f"r{n}" for n in range(300))


def test_what_goes_on_for_long_is_cut_from_the_latest_on() -> None:
    groups = fell_silent([Silent(second, 60.0, 1, ("a",), True) for second in range(0, 400, 10)])
    assert [(group.parts[0].second, group.parts[-1].second) for group in groups] == [
        (300, 390), (200, 290), (100, 190), (0, 90),
    ]  # fmt: skip
