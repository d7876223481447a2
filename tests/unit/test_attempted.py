# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A measurement that fails, or hangs, keeps no other one from being made, and says why."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest

from bench.figure import Figure, attempted, table

DONE = Figure("rate", "per second", (1.0,))
SHORT_S, LONG_S = 0.05, 60


def measured() -> list[Figure]:
    return [DONE]


def failing() -> list[Figure]:
    raise OSError("no | such\nplace")


def of_a_test() -> list[Figure]:
    pytest.fail("the store exited 1")


def hanging() -> list[Figure]:
    time.sleep(LONG_S)
    return [DONE]


def within() -> list[Figure]:
    return [*attempted("inner", hanging, SHORT_S), DONE]


@pytest.mark.parametrize(
    ("measure", "why"),
    [
        (failing, "failed: OSError: no / such place"),
        (of_a_test, "failed: Failed: the store exited 1"),
        (hanging, "failed: TimeoutError: not done within 0.05 s"),
    ],
)
def test_a_failure_is_a_figure_without_a_value(measure: Callable[[], list[Figure]], why: str) -> None:
    figures = attempted("the rate", measure, SHORT_S) + attempted("the rate", measured, LONG_S)
    assert figures == [Figure("the rate", "", (), note=why), DONE]
    assert why in table(figures)


def test_what_hangs_within_another_ends_alone() -> None:
    failed, done = attempted("outer", within, LONG_S)
    assert not failed.values
    assert done == DONE
