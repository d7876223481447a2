# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The fields of an alert as values of JSON, for receivers of HTTP POST: numbers as numbers, texts printable."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from sockbpf.record.field import Kind
from sockbpf.record.fields import BY_NAME
from sockbpf.record.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

Value = str | int | float | bool | None | dict[str, "Value"] | list["Value"]

MOST_CHARACTERS = 4096
"""The longest text of one field; what is longer is cut."""

WHOLE = re.compile(r"-?(0|[1-9][0-9]{0,18})")
SECONDS = re.compile(r"-?(0|[1-9][0-9]{0,9})\.[0-9]{1,6}")
"""Numbers that a double holds exactly: Unix times have microseconds."""

TEXTS = frozenset(name for name, field in BY_NAME.items() if field.kind in {Kind.TEXT, Kind.ADDRESS})
"""Fields that are text, whatever they look like: a process can be called 1e5."""


def value_of(name: str, text: str) -> str | int | float:
    """Return a field as a value of JSON."""
    if name not in TEXTS:
        if WHOLE.fullmatch(text):
            return int(text)
        if SECONDS.fullmatch(text) and (name in BY_NAME or name.endswith("_seconds")):  # a version is text
            return float(text)
    return cut(printable(text))


def values_of(fields: Mapping[str, str]) -> dict[str, Value]:
    """Return all fields as values of JSON."""
    return {name: value_of(name, text) for name, text in fields.items()}


def cut(text: str, most: int = MOST_CHARACTERS) -> str:
    """Return the text, if it is too long its beginning and an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"
