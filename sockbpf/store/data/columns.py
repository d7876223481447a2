# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which fields of the table of fields are columns of the store, and what of a body stands in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sockbpf.record.field import Kind
from sockbpf.record.fields import PLACES_OF_EDITION_2, columns, filters
from sockbpf.store.data.values import OF_COLUMN

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS = {field.name: field.kind for field in columns()}
"""All fields that are columns, and the kind of each."""
COLUMNS = {field.name: field.kind for field in filters()}
"""The fields by which entries are found, besides their time, and the kind of each."""
LATER = tuple(field.name for field in columns() if field.column > PLACES_OF_EDITION_2)
"""Those fields whose columns were added to the tables later: null in entries that are older than the column."""


def column_of(name: str) -> str:
    """Return the name of a field's column: that of an address, which holds its bytes, differs from the field's."""
    return name.replace("_ip", "_packed") if KINDS[name] is Kind.ADDRESS else name


LATER_COLUMNS = tuple(map(column_of, LATER))
LATER_OF_EPISODES = ("seq", "ended_by", "trusted", "stamps", "before")
"""Further columns that were added to episodes later; they are no fields of what an alert says of its episode."""
LATER_OF_HOSTS = ("silences", "labels")
"""Columns that were added to hosts later."""
_READERS = tuple((name, column_of(name), OF_COLUMN[kind]) for name, kind in KINDS.items())


def columns_of(body: Mapping[str, Any]) -> dict[str, object]:
    """Return the values of an entry's columns; what was posted may have any value, or none, under a field's name."""
    return {column: read(body.get(name)) for name, column, read in _READERS if name in COLUMNS}


def shown_of(body: Mapping[str, Any]) -> dict[str, object]:
    """Return the values of the further columns that episodes have."""
    return {column: read(body.get(name)) for name, column, read in _READERS if name not in COLUMNS}
