# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the documents say of the alert's fields, from their table: `python -m tests.unit.field_docs` writes it."""

from __future__ import annotations

import json
import re
from itertools import groupby
from pathlib import Path

from sockbpf.delivery.destinations.bigquery_rows import schema
from sockbpf.record.field import Field
from sockbpf.record.fields import FIELDS
from sockbpf.record.fields import filters as fields_of_filters

ROOT = Path(__file__).parents[2]

TABLE = re.compile(r"\| parameter \| unit \| value \|\n(?:\|.*\n)+")
FILTERS = re.compile(r"Filters by a field of alerts: .*?\.(?=\n)", re.DOTALL)


def table() -> str:
    """Return the table of docs/request.md; fields that stand together and have one meaning share a row."""
    rows = ["| parameter | unit | value |", "|---|---|---|"]
    for (meaning, unit), some in groupby(FIELDS, lambda field: (field.meaning, field.unit)):
        rows.append(f"| {_names(list(some))} | {unit} | {meaning} |")
    return "\n".join(rows) + "\n"


def filters() -> str:
    """Return the sentence of docs/store.md that names the filters."""
    return f"Filters by a field of alerts: {_names(fields_of_filters())}."


def _names(fields: list[Field]) -> str:
    return ", ".join(f"`{field.name}`" for field in fields)


DOCUMENTS = {ROOT / "docs/request.md": (TABLE, table), ROOT / "docs/store.md": (FILTERS, filters)}
"""Document -> where it speaks of the fields, and what it is to say there."""


SCHEMA = ROOT / "docs/bigquery-schema.json"


def schema_text() -> str:
    """Return the columns of a table of BigQuery, as `bq mk` reads them."""
    return json.dumps(schema(), indent=1, ensure_ascii=False) + "\n"


def rewritten(path: Path) -> str:
    """Return the text of a document as the table wants it."""
    where, made = DOCUMENTS[path]
    text, count = where.subn(lambda _: made(), path.read_text())
    if count != 1:
        raise SystemExit(f"{path}: no place for the alert's fields")
    return text


if __name__ == "__main__":
    SCHEMA.write_text(schema_text())
    for path in DOCUMENTS:
        path.write_text(rewritten(path))
