# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Stored objects as a table: CSV that is safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

from sockbpf.record.cell import ESCAPE, harmless
from sockbpf.store.web.problem import Problem

MOST_CELLS = 1_000_000
"""The most cells of one answer: objects without common names make a column for each name."""


def table_of(bodies: list[str]) -> bytes:
    """Return objects as CSV, one column for each name that any of them has; raise Problem.

    Texts are in quotes. One that a spreadsheet would run as a formula gets an apostrophe in front of it, as OWASP
    advises. Half of a surrogate pair, which UTF-8 cannot hold, is written as JSON does it.
    """
    objects = [json.loads(body) for body in bodies]
    names = list(dict.fromkeys(name for each in objects for name in each))
    if len(names) * len(objects) > MOST_CELLS:
        raise Problem(422, "too many different names for one table: ask for fewer objects, or for JSON")
    out = io.StringIO()
    lines = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, escapechar=ESCAPE)
    lines.writerow(harmless(name) for name in names)
    lines.writerows([_cell(each.get(name, "")) for name in names] for each in objects)
    return out.getvalue().encode(errors="backslashreplace")


def _cell(value: Any) -> str | int | float:
    if isinstance(value, str):
        return harmless(value)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if is_number else json.dumps(value)
