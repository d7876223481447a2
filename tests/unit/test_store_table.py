# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is kept as CSV: every text is a cell, on each Python."""

from __future__ import annotations

import json

import pytest

from sockbpf.store.web.table import table_of


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("a\0b", '"a\0b"'),
        ("\0", '"\'\0"'),
        ('say "no"', '"say ""no"""'),
        ("two\r\nlines", '"two\r\nlines"'),
        ("=1+1", '"\'=1+1"'),
        ("-1.5", '"-1.5"'),
    ],
)
def test_a_text_is_a_cell(text: str, cell: str) -> None:
    assert table_of([json.dumps({"name": text})]).decode() == f'"name"\r\n{cell}\r\n'
