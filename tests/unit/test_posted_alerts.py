# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Whatever bytes are posted as a batch, each line is an alert as by a GET, or is refused; nothing else happens."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from contextlib import suppress

import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from sockbpf.record.fields import FIELDS
from sockbpf.store.data.entry import alert_entry
from sockbpf.store.data.values import EntryError
from sockbpf.store.web.posted_alerts import MOST_LINES, batch_of
from sockbpf.store.web.problem import Problem
from tests.store.serving import told

NAMES = st.sampled_from([*(field.name for field in FIELDS), "other", ""])
TEXTS = st.one_of(
    st.text(st.characters(exclude_categories=["Cs"]), max_size=30),
    st.integers(-(2**70), 2**70).map(str),
    st.floats().map(repr),
    st.sampled_from(["exceeded", "heartbeat", "tcp", "RECV", "::1", "10.0.0.1", "007", "1_000", "1e5", "-0"]),
)
CHANGES = st.dictionaries(NAMES, TEXTS, max_size=4)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


def by_get(fields: Mapping[str, str]) -> object:
    """Return what a GET of these parameters keeps, or why it is refused."""
    try:
        return alert_entry(fields)
    except EntryError as error:
        return str(error)


@given(st.lists(CHANGES, min_size=1, max_size=9))
@settings(max_examples=150, deadline=None)
def test_each_line_is_what_a_get_would_be(changes: list[dict[str, str]]) -> None:
    rows = [told(n) | change for n, change in enumerate(changes)]
    batch = batch_of("\n".join(map(json.dumps, rows)).encode(), "identity", is_trusted=True)
    whys = dict(batch.refused)
    entries = iter(batch.entries)
    assert [whys.get(n) or next(entries) for n in range(1, len(rows) + 1)] == [by_get(row) for row in rows]
    assert next(entries, None) is None


@given(st.lists(VALUES.map(json.dumps).map(str.encode) | st.binary(max_size=40), max_size=9), st.booleans())
@settings(max_examples=300, deadline=None)
def test_whatever_bytes_come_are_refused_by_the_line(lines: list[bytes], is_gzip: bool) -> None:
    body = b"\n".join(lines)
    with suppress(Problem):
        batch = batch_of(
            gzip.compress(body) if is_gzip else body, "gzip" if is_gzip else "identity", is_trusted=True
        )
        assert not batch.entries
        assert [number for number, _ in batch.refused] == list(range(1, len(batch.refused) + 1))


@given(st.binary(max_size=200), st.integers(0, 60), st.sampled_from(["gzip", "zstd"]))
@settings(max_examples=300, deadline=None)
def test_whatever_is_said_to_be_compressed_is_taken_or_a_problem(
    noise: bytes, at: int, encoding: str
) -> None:
    line = json.dumps(told(1)).encode()
    good = gzip.compress(line, mtime=0) if encoding == "gzip" else zstd.compress(line)
    with suppress(Problem):
        batch_of(good[:at] + noise + good[at + len(noise) :], encoding, is_trusted=True)


def test_a_line_more_than_allowed_is_too_many() -> None:
    line = json.dumps(told(1)).encode() + b"\n"
    assert len(batch_of(line * MOST_LINES, "identity", is_trusted=True).entries) == MOST_LINES
    assert len(batch_of((line * MOST_LINES)[:-1], "identity", is_trusted=False).entries) == MOST_LINES
    for body in (line * MOST_LINES + b"{}", line * (MOST_LINES + 1)):
        with pytest.raises(Problem, match=f"at most {MOST_LINES} lines"):
            batch_of(body, "identity", is_trusted=True)
