# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Samples as a row keeps them: the same when they are read, and never read from what was altered."""

from __future__ import annotations

import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbpf.record.history import STEP_S, Sample, longer
from sockbpf.store.data.history import MOST_STEPS, STEPS, in_steps, window_of
from sockbpf.store.data.history_cells import MOST_BYTES, CellError, hours, of_hours, packed, unpacked, whole

BEGIN_S = 1_795_305_600
SAMPLES = st.dictionaries(
    st.integers(0, 2159).map(lambda step: BEGIN_S + step * STEP_S),
    st.builds(Sample, *(st.integers(0, most) for most in (2**50, 10_000, 2**31 - 1, 2**40))),
    min_size=1,
    max_size=60,
)


@given(SAMPLES)
def test_what_is_packed_is_unpacked(samples: dict[int, Sample]) -> None:
    assert unpacked(packed(samples, BEGIN_S), BEGIN_S) == samples


@given(SAMPLES)
def test_hours_are_those_of_the_samples(samples: dict[int, Sample]) -> None:
    found = of_hours(hours(samples))
    for hour_s, sample in found.items():
        within = [each for at_s, each in samples.items() if hour_s <= at_s < hour_s + 3600]
        assert sample == whole(within)
    assert whole(found.values()) == whole(samples.values())


@given(SAMPLES, st.integers(0, 7 * 86_400), st.integers(0, 21_600))
def test_steps_have_the_greatest_values_and_all_drops(
    samples: dict[int, Sample], length_s: int, begin: int
) -> None:
    window = window_of(BEGIN_S + begin, BEGIN_S + begin + length_s)
    steps = in_steps(samples, window)
    assert len(steps) == window.count <= MOST_STEPS
    assert window.begin_s <= BEGIN_S + begin <= BEGIN_S + begin + length_s <= window.end_s
    for place, step in enumerate(steps):
        begin_s = window.begin_s + place * window.step_s
        within = [each for at_s, each in samples.items() if begin_s <= at_s < begin_s + window.step_s]
        assert step == (whole(within) if within else None)


def test_the_longest_window_ends_when_it_was_asked_to() -> None:
    window = window_of(0, BEGIN_S)
    assert (window.end_s, window.step_s, window.count) == (BEGIN_S, STEPS[-1], MOST_STEPS)
    assert window_of(BEGIN_S, BEGIN_S - 50).count == 0


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no zlib",
        packed({BEGIN_S: Sample(1, 2, 3, 4)}, BEGIN_S)[:-1],
        zlib.compress(b"[" * 100_000),
        zlib.compress(b"0" * (MOST_BYTES + 1)),
        zlib.compress(b"{}"),
        zlib.compress(b'[["a"],[1],[1],[1],[1]]'),
        zlib.compress(b"[[0,1],[1],[1],[1],[1]]"),
        zlib.compress(b"[[0],[1],[1],[1]]"),
    ],
)
def test_what_is_no_samples_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(CellError):
        unpacked(data, BEGIN_S)


@pytest.mark.parametrize("text", ["", "{", "[1]", "[[1,2]]", json.dumps({"a": 1})])
def test_what_is_no_hours_is_said_to_be_none(text: str) -> None:
    with pytest.raises(CellError):
        of_hours(text)


def test_a_longer_time_is_told_by_its_worst() -> None:
    assert longer(Sample(5, 70, 2, 3), Sample(9, 10, 1, 4)) == Sample(9, 70, 2, 7)
