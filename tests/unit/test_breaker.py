# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A dead destination costs one request per pause; a rate is kept."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbpf.delivery.breaker import TRIPS_AFTER, Breaker, Bucket, backoff_s

SECONDS = st.floats(min_value=0.001, max_value=1e6)


def tripped(first_s: float = 1, max_s: float = 30) -> Breaker:
    breaker = Breaker(first_s, max_s)
    for _ in range(TRIPS_AFTER):
        breaker.failed(0, 0, probe=breaker.began())
    return breaker


@given(st.integers(1, 10**6), SECONDS, SECONDS, st.floats(0, 1))
def test_the_backoff_stays_between_its_bounds(
    failures: int, one_s: float, other_s: float, luck: float
) -> None:
    first_s, max_s = sorted((one_s, other_s))
    wait_s = backoff_s(failures, first_s, max_s, lambda low, high: low + (high - low) * luck)
    assert first_s * 0.999 <= wait_s <= max_s


def test_the_ceiling_of_the_backoff_doubles_up_to_the_maximum() -> None:
    ceilings = [backoff_s(failures, 1, 30, lambda _, high: high) for failures in range(1, 8)]
    assert ceilings == [2, 4, 8, 16, 30, 30, 30]


def test_single_failures_do_not_open_it() -> None:
    breaker = Breaker(1, 30)
    for _ in range(100):
        for _ in range(TRIPS_AFTER - 1):
            assert breaker.due_s() == 0
            breaker.failed(0, 0, probe=breaker.began())
        breaker.worked()
    assert not breaker.is_open


def test_open_it_lets_one_probe_through_and_waits_longer_after_each() -> None:
    breaker, now_s = tripped(), 0.0
    pauses = []
    for _ in range(12):
        due_s = breaker.due_s()
        assert due_s is not None
        assert 1 <= due_s - now_s <= 30
        pauses.append(due_s - now_s)
        now_s = due_s
        assert breaker.began(), "a probe"
        assert breaker.due_s() is None, "no second one beside it"
        breaker.failed(now_s, 0, probe=True)
    assert max(pauses) > 4


def test_an_answer_closes_it() -> None:
    breaker = tripped()
    assert breaker.began()
    breaker.worked()
    assert not breaker.is_open
    assert breaker.due_s() == 0
    assert not breaker.began()


def test_what_was_under_way_when_it_opened_does_not_lengthen_the_pause() -> None:
    breaker = tripped()
    due_s = breaker.due_s()
    for _ in range(60):
        breaker.failed(0.5, 0, probe=False)
    assert breaker.due_s() == due_s
    assert breaker.failures == TRIPS_AFTER


@pytest.mark.parametrize(
    ("asked_s", "waited_s"), [(7, 7), (120, 120), (3600, 3600), (86400, 3600), (float("inf"), 3600)]
)
def test_a_receiver_that_asks_to_be_left_alone_is(asked_s: float, waited_s: float) -> None:
    """At once, for longer than the settings' pauses, but for no more than an hour."""
    breaker = Breaker(1, 30)
    breaker.failed(100, asked_s, probe=breaker.began())
    assert breaker.is_open
    assert breaker.due_s() == 100 + waited_s
    breaker.try_now()
    assert breaker.due_s() == 100 + waited_s, "not even at the end"


def test_what_was_under_way_can_ask_for_more_time() -> None:
    breaker = tripped()
    breaker.failed(0.5, 120, probe=False)
    assert breaker.due_s() == 120.5
    breaker.failed(0.6, 7, probe=False)
    assert breaker.due_s() == 120.5
    assert breaker.began()
    breaker.failed(130, 0, probe=True)
    assert 130 < (breaker.due_s() or 0) <= 130 + breaker.retry_max_s


@given(
    st.floats(0.1, 1000),
    st.integers(1, 50),
    st.lists(st.floats(0, 3), min_size=1, max_size=200),
)
def test_no_stretch_of_time_has_more_than_the_rate_and_the_burst(
    rate: float, burst: int, gaps_s: list[float]
) -> None:
    bucket, now_s, sent = Bucket(rate, burst), 0.0, []
    for gap_s in gaps_s:
        now_s += gap_s
        due_s = bucket.due_s(now_s)
        assert due_s >= now_s
        now_s = due_s
        bucket.due_s(now_s)
        bucket.take()
        sent.append(now_s)
    for first in range(len(sent)):
        for last in range(first, len(sent)):
            assert last - first + 1 <= burst + (sent[last] - sent[first]) * rate + 1e-3


def test_no_rate_is_no_limit() -> None:
    bucket = Bucket(0, 1)
    for _ in range(1009):
        assert bucket.due_s(5.0) == 5.0
        bucket.take()
