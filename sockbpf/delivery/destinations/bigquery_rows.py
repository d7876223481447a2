# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""An alert as a row of a table of BigQuery, and the table's schema, from the table of an alert's fields. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from decimal import Decimal
from typing import TYPE_CHECKING

from sockbpf.delivery.destinations.values import cut
from sockbpf.record.field import Kind, Needed
from sockbpf.record.fields import BY_NAME, FIELDS
from sockbpf.record.text import printable, rfc3339

if TYPE_CHECKING:
    from collections.abc import Mapping

TYPES = {Kind.TEXT: "STRING", Kind.ADDRESS: "STRING", Kind.WHOLE: "INTEGER", Kind.SECONDS: "FLOAT"}
INSTANT = "timestamp"
"""The field that is an instant, a TIMESTAMP."""

OTHERS = "others"
"""The column of what has none: JSON, as the counters of a heartbeat."""

NUMBERS = {Kind.WHOLE: re.compile("[0-9]{1,18}"), Kind.SECONDS: re.compile(r"[0-9]{1,10}(\.[0-9]{1,6})?")}
NOTHING = re.compile("(?!)")

ID_BYTES = 128
"""The longest insert id."""


def schema() -> list[dict[str, str]]:
    """Return the columns as `bq mk --schema` takes them."""
    columns = [
        {
            "name": field.name,
            "type": "TIMESTAMP" if field.name == INSTANT else TYPES[field.kind],
            "mode": "REQUIRED" if field.needed is Needed.ALWAYS else "NULLABLE",
            "description": re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", field.meaning),
        }
        for field in FIELDS
    ]
    others = "what has no column, as the counters of a heartbeat: JSON"
    return [*columns, {"name": OTHERS, "type": "STRING", "mode": "NULLABLE", "description": others}]


def row(fields: Mapping[str, str]) -> dict[str, str]:
    """Return the values by column, as texts, which BigQuery reads by the column's type: whole numbers stay exact."""
    made: dict[str, str] = {}
    others: dict[str, str] = {}
    for name, text in fields.items():
        number = NUMBERS.get(BY_NAME[name].kind) if name in BY_NAME else NOTHING
        held = made if number is None or number.fullmatch(text) else others
        held[name] = cut(printable(text))
    if INSTANT in made:
        made[INSTANT] = rfc3339(Decimal(made[INSTANT]))
    if others:
        made[OTHERS] = json.dumps(others)
    return made


def insert_id(fields: Mapping[str, str]) -> str:
    """Return what names the alert, so that BigQuery drops a row that comes again soon.

    What is about the monitor has no `id`, and several may have the same `seq`: their time tells them apart.
    """
    which = fields.get("id") or fields.get(INSTANT, "")
    name = f"{fields['host']}/{which}/{fields['event']}/{fields.get('seq', '')}"
    return name if len(name.encode()) <= ID_BYTES else hashlib.sha256(name.encode()).hexdigest()
