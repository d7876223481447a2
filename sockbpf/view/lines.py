# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A list of sockets for programs: JSON, one object a line, and CSV."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING

from sockbpf.record.cell import ESCAPE, harmless
from sockbpf.record.text import printable
from sockbpf.view.columns import FIELDS, fields

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from sockbpf.record.socket_row import SocketRow


def json_lines(rows: Iterable[SocketRow]) -> Iterator[str]:
    """Yield each socket as an object on one line, of ASCII alone; what is not known is absent."""
    encoded = json.JSONEncoder(separators=(",", ":")).encode
    for row in rows:
        yield encoded(fields(row)).replace("\x7f", "\\u007f") + "\n"


def csv_lines(rows: Iterable[SocketRow]) -> Iterator[str]:
    """Yield the names and then each socket. Texts are in quotes; none begins as a spreadsheet's formula does.

    What is not printable in them is a backslash escape.
    """
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_NONNUMERIC, escapechar=ESCAPE, lineterminator="\n")
    writer.writerow(name for name, _ in FIELDS)
    yield out.getvalue()
    for row in rows:
        out.seek(0)
        out.truncate()
        writer.writerow(_cell(of(row)) for _, of in FIELDS)
        yield out.getvalue()


def _cell(value: str | int | None) -> str | int:
    return value if isinstance(value, int) else harmless(printable(value or ""))
