# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the compiler makes of the C: programs and maps as any process can load them, and as bytes to hand on or keep.

BCC writes the descriptors of its own maps into the instructions. Here each such place is known by the map's name.
"""

from __future__ import annotations

import base64
import json
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

INSTRUCTION = struct.Struct("=BBhi")
"""include/uapi/linux/bpf.h, struct bpf_insn: code, registers, offset, immediate."""

LOAD_64, FROM_MAP, FROM_VALUE = 0x18, 1, 2
"""BPF_LD | BPF_DW | BPF_IMM, and BPF_PSEUDO_MAP_FD or BPF_PSEUDO_MAP_VALUE as its source: the immediate is a map's
descriptor. As compiled, values have a number of our own in its place: DIRECT of shortcuts.py."""

CALL = 0x85
"""BPF_JMP | BPF_CALL"""

IMMEDIATE = 4
"""Where in an instruction it stands, bytes."""


class NonsenseError(Exception):
    """Bytes that are no bytecode."""


@dataclass(frozen=True, slots=True)
class MapKind:
    """How a map is made: what bpf(2) wants to know; sizes in bytes."""

    kind: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


@dataclass(frozen=True, slots=True)
class Program:
    """One program; `kind` is the value of its hooks' Kind."""

    kind: str
    code: bytes
    maps: tuple[tuple[int, str], ...]
    """Where instructions lie that load a map's address, bytes, and which map's."""

    def with_maps(self, descriptors: Mapping[str, int]) -> bytes:
        """Return the instructions with these maps."""
        code = bytearray(self.code)
        for at, name in self.maps:
            struct.pack_into("=i", code, at + IMMEDIATE, descriptors[name])
        return bytes(code)


@dataclass(frozen=True, slots=True)
class Bytecode:
    """Everything of one compilation, for the kernel that it was made on and no other."""

    types: str
    """A word for where the kernel's types came from."""

    licence: str
    kernel_version: int
    maps: dict[str, MapKind]
    programs: dict[str, Program]

    def to_bytes(self) -> bytes:
        said = {
            "types": self.types,
            "licence": self.licence,
            "kernel_version": self.kernel_version,
            "maps": {
                name: [made.kind, made.key_size, made.value_size, made.max_entries, made.flags]
                for name, made in self.maps.items()
            },
            "programs": {
                name: [program.kind, base64.b64encode(program.code).decode(), program.maps]
                for name, program in self.programs.items()
            },
        }
        return json.dumps(said).encode()


def program_of(kind: str, code: bytes, names: Mapping[int, Mapping[int, str]]) -> Program:
    """Return a program whose instructions have numbers for maps in them; `names` are theirs, by source and number."""
    return Program(kind, code, tuple((at, names[source][number]) for at, source, number in maps_in(code)))


def bytecode_from(raw: bytes) -> Bytecode:
    """Read what `Bytecode.to_bytes` wrote; raise NonsenseError."""
    try:
        said = json.loads(raw)
        maps = {_text(name): MapKind(*map(_number, row)) for name, row in said["maps"].items()}
        programs = {_text(name): _program(row, maps) for name, row in said["programs"].items()}
        return Bytecode(
            _text(said["types"]), _text(said["licence"]), _number(said["kernel_version"]), maps, programs
        )
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise NonsenseError(f"{raw[:80]!r} ({fault!r})") from None


def _program(row: Any, maps: Mapping[str, MapKind]) -> Program:
    kind, text, places = row
    code = base64.b64decode(text, validate=True)
    if len(code) % INSTRUCTION.size:
        raise ValueError(f"{len(code)} bytes of instructions")
    named = tuple((_number(at), _text(name)) for at, name in places)
    if [at for at, _, _ in maps_in(code)] != [at for at, _ in named] or not {
        name for _, name in named
    } <= set(maps):
        raise ValueError(f"other maps: {places}")
    return Program(_text(kind), code, named)


def maps_in(code: bytes) -> list[tuple[int, int, int]]:
    """Return where instructions load a map's address, or its value's, bytes; which of both; and of which map."""
    return [
        (number * INSTRUCTION.size, registers >> 4, immediate)
        for number, (operation, registers, _, immediate) in enumerate(INSTRUCTION.iter_unpack(code))
        if operation == LOAD_64 and registers >> 4 in (FROM_MAP, FROM_VALUE)
    ]


def _text(said: Any) -> str:
    if not isinstance(said, str):
        raise TypeError(f"no text: {said!r}")
    return said


def _number(said: Any) -> int:
    if not isinstance(said, int):
        raise TypeError(f"no number: {said!r}")
    return said
