# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What waits comes out in order, what does not wait any more never, and the memory is bounded by what does."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sockbpf.judge.due import SWEPT_OUT_FROM, Waiting

ENTRY = st.tuples(st.integers(0, 50), st.booleans())
ENTRIES = st.one_of(st.lists(ENTRY, max_size=20), st.lists(ENTRY, min_size=100, max_size=200))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(ENTRIES, st.integers(-1, 51))
def test_what_waits_is_taken_earliest_first_and_once(entries: list[tuple[int, bool]], until_ns: int) -> None:
    waits: set[int] = set()
    waiting = Waiting[int](lambda thing, ns: thing in waits and entries[thing][0] == ns)
    for thing, (ns, stays) in enumerate(entries):
        waits.add(thing)
        waiting.add(ns, thing)
        if not stays:
            waits.remove(thing)
        assert len(waiting) <= 2 * len(waits) + SWEPT_OUT_FROM
    expected = sorted(waits, key=lambda thing: (entries[thing][0], thing))
    assert waiting.first_ns() == (entries[expected[0]][0] if expected else None)
    soon = waiting.until(until_ns, len(entries) + 1)
    assert sorted(soon) == sorted(thing for thing in expected if entries[thing][0] <= until_ns)
    assert len(waiting.until(until_ns, 3)) == min(3, len(soon))
    taken = waiting.take(until_ns)
    assert taken == [thing for thing in expected if entries[thing][0] <= until_ns]
    assert taken + waiting.take(50) == expected
    assert waiting.first_ns() is None
    assert len(waiting) == 0
