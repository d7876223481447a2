# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The parameters of a search: what they mean, and how they are refused."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from datetime import datetime
from typing import TypeVar
from urllib.parse import urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sockbpf.store.data.filters import MOST_FILTERS, MOST_ROWS, Filter, cursor, parse
from sockbpf.store.data.values import EntryError, packed_ip, read_time

T = TypeVar("T")


def or_fault(call: Callable[[], T]) -> T | str:
    """Return what a call returns, or why it refuses."""
    try:
        return call()
    except EntryError as error:
        return str(error)


WORD = re.compile(r"[a-z ]+").fullmatch
"""What may be a part of any fault's own words."""
NAMES = (
    "from", "to", "protocol", "type", "event", "ip", "port", "cidr", "host", "pid", "comm", "min_size", "id",
    "limit", "cursor", "local_ip", "local_port", "size", "open", "sort", "mode", "rack",
)  # fmt: skip
VALUES = (
    "1",
    "tcp",
    "192.0.2.0/24",
    "::1",
    "2026-01-31T12:00:00Z",
    "true",
    "peak",
    "-1",
    "",
    "SEND",
    "1e999",
)


@given(
    st.lists(st.tuples(st.sampled_from(NAMES) | st.text(), st.text() | st.sampled_from(VALUES)), max_size=20),
    st.booleans(),
)
def test_anything_is_a_filter_or_refused_without_being_repeated(
    asked: list[tuple[str, str]], episodes: bool
) -> None:
    found = or_fault(lambda: parse(asked, episodes=episodes))
    if isinstance(found, str):
        said = found.partition(": expected")[2] or found  # the name before it may be the value of another
        assert not [v for _, v in asked if len(v) > 3 and v in said and v not in VALUES and not WORD(v)]
        return
    assert len(asked) <= MOST_FILTERS
    assert 1 <= found.limit <= MOST_ROWS
    assert not (episodes and (found.pairs or found.before))


@given(st.floats(0, 253402300799), st.integers(1, 2**63 - 1))
def test_a_cursor_leads_back_to_its_place(at_s: float, n: int) -> None:
    text = cursor(at_s, n)
    assert urlencode({"cursor": text}) == f"cursor={text}"  # it goes into a link as it is
    assert parse([("cursor", text)]).before == (at_s, n)


@given(st.text())
def test_any_other_cursor_is_refused_or_a_place(text: str) -> None:
    found = or_fault(lambda: parse([("cursor", text)]).before)
    assert found is not None
    assert not isinstance(found, str) or found.startswith("cursor: expected")


AWARE = st.floats(86400, 253402214399).flatmap(
    lambda at_s: st.timezones().map(lambda zone: datetime.fromtimestamp(int(at_s), zone))
)


@given(AWARE)
def test_a_time_with_any_offset_is_the_moment_it_says(when: datetime) -> None:
    offset = when.utcoffset()
    if offset is None or offset.total_seconds() % 60:
        return  # of times before there were zones
    for text in (when.isoformat(), when.isoformat().replace("+", " "), str(when)):
        assert read_time("from", text) == when.timestamp()
    assert read_time("from", repr(when.timestamp())) == when.timestamp()


@given(st.text())
def test_any_text_is_a_time_or_refused_by_name(text: str) -> None:
    found = or_fault(lambda: read_time("before", text))
    assert math.isfinite(found) if isinstance(found, float) else found.startswith("before: expected")


@pytest.mark.parametrize(
    "text", ["nan", "inf", "-inf", "1_000", "", "now", "2026-02-30", "0x10", "2026-01-01T25:00"]
)
def test_these_are_no_times(text: str) -> None:
    with pytest.raises(EntryError, match=r"^from: expected"):
        parse([("from", text)])


def one(name: str, value: str, *, episodes: bool = False) -> Filter:
    return parse([(name, value)], episodes=episodes)


def test_what_a_filter_means() -> None:
    assert parse([]) == Filter(None, None, 100, None, {}, None, {}, ())
    assert one("ip", "192.0.2.1").ends == {"ip": packed_ip("::ffff:192.0.2.1")}
    assert one("cidr", "192.0.2.77/24").ends == {"cidr": (packed_ip("192.0.2.0"), packed_ip("192.0.2.255"))}
    assert one("cidr", "0.0.0.0/0").ends == {"cidr": (packed_ip("0.0.0.0"), packed_ip("255.255.255.255"))}
    assert one("cidr", "::/0").ends == {"cidr": (b"\0" * 16, b"\xff" * 16)}
    assert one("local_port", "7").columns == {"local_port": 7}
    assert one("rack", "r1").pairs == (("rack", "r1"),)
    assert one("open", "true", episodes=True).open is True
    assert one("open", "true").pairs == (("open", "true"),)


def test_a_filter_is_given_once_and_not_too_many_are() -> None:
    with pytest.raises(EntryError, match=r"^port: expected once"):
        parse([("port", "1"), ("port", "2")])
    with pytest.raises(EntryError, match=f"at most {MOST_FILTERS}"):
        parse([(f"k{n}", "1") for n in range(MOST_FILTERS + 1)])
