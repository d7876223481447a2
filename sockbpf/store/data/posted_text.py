# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Objects from text that was posted: the rows of a CSV table, or the text as it is."""

from __future__ import annotations

import csv
import io


def text_entries(text: str) -> list[dict[str, str]]:
    """Return an object for each row of a CSV with a header; for any other text one object with that `text`.

    A text is a table if its header has at least two names, all different, and at least one row follows, each as wide
    as the header.
    """
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error:
        rows = []
    header = [name.strip() for name in rows[0]] if rows else []
    is_table = (
        len(rows) > 1
        and len(header) > 1
        and len(set(header)) == len(header)
        and all(len(row) == len(header) for row in rows)
    )
    return [dict(zip(header, row, strict=True)) for row in rows[1:]] if is_table else [{"text": text}]
