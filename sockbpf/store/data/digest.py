# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The sum of a row: what tells one that the disk, or whoever writes to it, has altered since."""

from __future__ import annotations

import json
from hashlib import blake2s
from typing import TYPE_CHECKING, Any

from sqlalchemy import Float, LargeBinary, Text

from sockbpf.store.data.columns import LATER_COLUMNS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Column, Table

APART = frozenset({"n", "arrived", "trusted", "digest"})
"""Columns that it does not go by: given by the database, or changed without a look at the rest."""
SIZE = 8
"""Bytes."""


def digest_of(row: Mapping[Any, Any], names: Iterable[str]) -> bytes:
    """Return the sum of a row of the columns `names`; those that it lacks count as null.

    What it does not say of a later column leaves the sum as it was before there was that column.
    """
    values = [row.get(name) for name in names if name not in APART and name not in LATER_COLUMNS]
    values += [[name, row[name]] for name in LATER_COLUMNS if row.get(name) is not None]
    return blake2s(json.dumps(values, default=_hex).encode(), digest_size=SIZE).digest()


def is_sound(row: Mapping[Any, Any], table: Table) -> bool:
    """Whether a row is as it was written, as far as can be told: the first edition's have no sum, but kinds."""
    if row["digest"] is None:
        return all(_is_of_kind(row[column.name], column) for column in table.columns)
    return bool(row["digest"] == digest_of(row, table.c.keys()))


def _is_of_kind(value: object, column: Column[Any]) -> bool:
    """Whether a value can stand in a column: a damaged file may have anything anywhere."""
    if value is None:
        return bool(column.nullable)
    kinds: dict[type, tuple[type, ...]] = {Float: (float,), Text: (str,), LargeBinary: (bytes, memoryview)}
    return isinstance(value, kinds.get(type(column.type), (int,)))


def _hex(value: object) -> str:
    return bytes(value).hex()  # type: ignore[call-overload,no-any-return]
