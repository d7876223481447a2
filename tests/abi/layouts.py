# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Where fields lie: of a struct as BCC shows it, and of the bytes as Python reads them."""

from __future__ import annotations

import struct
from typing import Any


def layout(struct_type: Any) -> list[tuple[str, int, int]]:
    """Return name, offset and size of each field of one of BCC's ctypes classes."""
    places = [(name, getattr(struct_type, name)) for name, *_ in struct_type._fields_]
    return [(name, place.offset, place.size) for name, place in places]


def packed(table_fields: tuple[tuple[str, str], ...]) -> list[tuple[str, int, int]]:
    """Return the same of fields as Python reads them, one after the other."""
    expected, position = [], 0
    for name, code in table_fields:
        size = struct.calcsize("=" + code)
        expected.append((name, position, size))
        position += size
    return expected
