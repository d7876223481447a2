# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The digest of a row, by which a row is recognised that was altered, by the disk or by another program."""

from __future__ import annotations

import json
from functools import lru_cache
from hashlib import blake2s
from typing import TYPE_CHECKING, Any

from sqlalchemy import Float, LargeBinary, Text

from sockbpf.store.data.columns import LATER_COLUMNS, LATER_OF_EPISODES, LATER_OF_HOSTS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlalchemy import Column, Table

APART = frozenset({"n", "arrived", "trusted", "digest"})
"""Columns that the digest leaves out: the database sets them, or they are changed while the rest stays."""
COUNTED_WHERE_THERE = (
    *LATER_COLUMNS,
    *(name for name in LATER_OF_EPISODES if name not in APART),
    *LATER_OF_HOSTS,
)
SIZE = 8
"""Bytes."""
DATABASES_OWN = 16
"""Bytes of the digest of a row that a database makes which checks what it reads itself, as ClickHouse does: it tells
only whether the row is still the same."""


def digest_of(row: Mapping[Any, Any], names: Iterable[str]) -> bytes:
    """Return the digest of a row, of its columns `names` in this order; one that the row lacks counts as null.

    A later column counts only where it is not null, so that rows from before that column keep their digest.
    """
    always, where_there = _counted(tuple(names))
    values = [value.hex() if value.__class__ is bytes else value for value in map(row.get, always)]
    values += [[name, value] for name in where_there if (value := row.get(name)) is not None]
    return blake2s(_encode(values).encode(), digest_size=SIZE).digest()


@lru_cache(16)
def _counted(names: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return those of the columns that count always, and those that count only where they are not null."""
    always = (name for name in names if name not in APART and name not in COUNTED_WHERE_THERE)
    return tuple(always), tuple(name for name in COUNTED_WHERE_THERE if name in names)


def is_sound(row: Mapping[Any, Any], table: Table) -> bool:
    """Whether a row is as it was written. A row of the first edition has no digest: its types are checked."""
    if is_checked(row):
        return True
    if row["digest"] is None:
        return all(_is_of_kind(row[column.name], column) for column in table.columns)
    return bool(row["digest"] == digest_of(row, _names(table)))


@lru_cache(8)
def _names(table: Table) -> tuple[str, ...]:
    return tuple(table.c.keys())


def is_checked(row: Mapping[Any, Any]) -> bool:
    """Whether the database has checked this row."""
    return isinstance(row["digest"], bytes) and len(row["digest"]) == DATABASES_OWN


def _is_of_kind(value: object, column: Column[Any]) -> bool:
    """Whether a value is of the type of its column: in a damaged file it may be of any."""
    if value is None:
        return bool(column.nullable)
    kinds: dict[type, tuple[type, ...]] = {Float: (float,), Text: (str,), LargeBinary: (bytes, memoryview)}
    return isinstance(value, kinds.get(type(column.type), (int,)))


def _hex(value: object) -> str:
    return bytes(value).hex()  # type: ignore[call-overload,no-any-return]


_encode = json.JSONEncoder(default=_hex).encode
