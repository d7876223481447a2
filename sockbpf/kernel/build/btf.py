# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The kernel's own description of its types: where a field lies, read from /sys/kernel/btf/vmlinux.

The format is Documentation/bpf/btf.rst of the kernel. All types of a kernel are read in a fraction of a second.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

HEADER = struct.Struct("=HBBIIIII")
TYPE = struct.Struct("=III")
MEMBER = struct.Struct("=III")
MAGIC = 0xEB9F

INT, PTR, ARRAY, STRUCT, UNION, ENUM, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FUNC_PROTO = range(1, 14)
VAR, DATASEC, FLOAT, DECL_TAG, TYPE_TAG, ENUM64 = range(14, 20)
TRANSPARENT = {TYPEDEF, VOLATILE, CONST, RESTRICT, TYPE_TAG}
BYTES_BEHIND = {INT: 4, ARRAY: 12, VAR: 4, DECL_TAG: 4}
BYTES_BEHIND_EACH = {STRUCT: 12, UNION: 12, ENUM: 8, FUNC_PROTO: 8, DATASEC: 12, ENUM64: 12}


@dataclass(frozen=True, slots=True)
class Member:
    """Where a field lies in its outermost struct: `offset` in bytes, `size` in bytes.

    A bit-field has the offset of the byte it begins in, and the size of its bits rounded up.
    """

    offset: int
    size: int


class Btf:
    """The types of one kernel.

    Raise ValueError when the bytes are not BTF.
    """

    def __init__(self, raw: bytes) -> None:
        if len(raw) < HEADER.size:
            raise ValueError("too short to be BTF")
        magic, _, _, header_len, type_off, type_len, str_off, str_len = HEADER.unpack_from(raw)
        if magic != MAGIC:
            raise ValueError("not BTF of this machine's byte order")
        self._raw = raw
        self._strings = raw[header_len + str_off : header_len + str_off + str_len]
        self._at = [0]
        """Position of each type's record, by its id; id 0 is void."""
        self._named: dict[int, int] = {}
        """Position of the name of a struct or union -> its id."""
        self._functions: dict[int, int] = {}
        """Position of the name of a function -> its id."""
        end = header_len + type_off + type_len
        position = header_len + type_off
        while position < end:
            name, info, _ = TYPE.unpack_from(raw, position)
            kind, count = info >> 24 & 0x1F, info & 0xFFFF
            if kind in (STRUCT, UNION):
                self._named.setdefault(name, len(self._at))
            elif kind == FUNC:
                self._functions.setdefault(name, len(self._at))
            self._at.append(position)
            position += TYPE.size + BYTES_BEHIND.get(kind, 0) + BYTES_BEHIND_EACH.get(kind, 0) * count

    @classmethod
    def of(cls, path: Path) -> Btf:
        """Read the types in a file. Raise OSError or ValueError."""
        return cls(path.read_bytes())

    def field(self, path: str) -> Member | None:
        """Return where `struct.member.member` lies, through unnamed members too; None if there is none."""
        struct_name, *members = path.split(".")
        kind_id = self.struct(struct_name)
        offset, size = 0, 0
        for member in members:
            found = self._member(kind_id, member) if kind_id else None
            if found is None:
                return None
            bits, kind_id, size = found
            offset += bits
        return Member(offset // 8, size)

    def struct(self, name: str) -> int:
        """Return the id of a struct or union, 0 if there is none."""
        return self._id(self._named, name)

    def function(self, name: str) -> int:
        """Return the id of a function, 0 if there is none."""
        return self._id(self._functions, name)

    def _id(self, ids: dict[int, int], name: str) -> int:
        before = self._strings.find(b"\0" + name.encode() + b"\0")
        return ids.get(before + 1, 0) if before >= 0 else 0

    def _name(self, position: int) -> str:
        return self._strings[position : self._strings.index(b"\0", position)].decode()

    def _resolve(self, kind_id: int) -> tuple[int, int, int, int]:
        """Follow typedefs and qualifiers; return kind, count of members, size or type, position."""
        while kind_id:
            position = self._at[kind_id]
            _, info, size_or_type = TYPE.unpack_from(self._raw, position)
            kind = info >> 24 & 0x1F
            if kind not in TRANSPARENT:
                return kind, info & 0xFFFF | (info >> 31) << 16, size_or_type, position
            kind_id = size_or_type
        return 0, 0, 0, 0

    def _size(self, kind_id: int) -> int:
        kind, _, size, position = self._resolve(kind_id)
        if kind == PTR:
            return struct.calcsize("P")
        if kind == ARRAY:
            element, _, count = struct.unpack_from("=III", self._raw, position + TYPE.size)
            return self._size(element) * int(count)
        return size

    def _member(self, kind_id: int, wanted: str) -> tuple[int, int, int] | None:
        """Return offset in bits, type and size in bytes of a member."""
        kind, count, _, position = self._resolve(kind_id)
        if kind not in (STRUCT, UNION):
            return None
        has_bit_fields, count = count >> 16, count & 0xFFFF
        for i in range(count):
            name, member_id, place = MEMBER.unpack_from(self._raw, position + TYPE.size + i * MEMBER.size)
            bits = place & 0xFFFFFF if has_bit_fields else place
            width = place >> 24 if has_bit_fields else 0
            if name == 0:  # an unnamed struct or union: its members are the outer one's
                inner = self._member(member_id, wanted)
                if inner:
                    return bits + inner[0], inner[1], inner[2]
            elif self._name(name) == wanted:
                return bits, member_id, (width + 7) // 8 or self._size(member_id)
        return None
