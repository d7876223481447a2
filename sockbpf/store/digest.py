"""The sum of a row: what tells one that the disk, or whoever writes to it, has altered since."""

from __future__ import annotations

import json
from hashlib import blake2s
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

APART = frozenset({"n", "arrived", "trusted", "digest"})
"""Columns that it does not go by: given by the database, or changed without a look at the rest."""
SIZE = 8
"""Bytes."""


def digest_of(row: Mapping[Any, Any], names: Iterable[str]) -> bytes:
    """Return the sum of a row of the columns `names`; those that it lacks count as null."""
    values = [row.get(name) for name in names if name not in APART]
    return blake2s(json.dumps(values, default=_hex).encode(), digest_size=SIZE).digest()


def is_sound(row: Mapping[Any, Any], names: Iterable[str]) -> bool:
    """Whether a row is as it was written, as far as can be told: the first edition's have no sum."""
    return row["digest"] is None or bytes(row["digest"]) == digest_of(row, names)


def _hex(value: object) -> str:
    return bytes(value).hex()  # type: ignore[call-overload,no-any-return]
