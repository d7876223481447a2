# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The compiler's result: programs and maps that any process can load, also as bytes for a pipe or a file.

BCC writes the descriptors of its own maps into the instructions. Here each such place has the map's name instead.
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
descriptor. In compiled code that loads a value's address it is a number of DIRECT in shortcuts.py."""

CALL = 0x85
"""BPF_JMP | BPF_CALL"""

IMMEDIATE = 4
"""The offset of the immediate in an instruction, bytes."""


class NonsenseError(Exception):
    """The bytes are not bytecode."""


@dataclass(frozen=True, slots=True)
class MapKind:
    """The arguments with which bpf(2) makes a map; sizes in bytes."""

    kind: int
    key_size: int
    value_size: int
    max_entries: int
    flags: int


@dataclass(frozen=True, slots=True)
class Program:
    """One program; `kind` is the value of its hooks' HookKind."""

    kind: str
    code: bytes
    maps: tuple[tuple[int, str], ...]
    """The offset, in bytes, of each instruction that loads a map's address, and the name of the map."""

    target: int = 0
    """Of an iterator: the id, in the kernel's own types, of the function that says what it goes through."""

    def with_maps(self, descriptors: Mapping[str, int]) -> bytes:
        """Return the instructions with the descriptors of these maps."""
        code = bytearray(self.code)
        for at, name in self.maps:
            struct.pack_into("=i", code, at + IMMEDIATE, descriptors[name])
        return bytes(code)


@dataclass(frozen=True, slots=True)
class Bytecode:
    """The result of one compilation, for the kernel on which it was made and no other."""

    types: str
    """Where the kernel's types came from, in a word or two."""

    licence: str
    kernel_version: int
    maps: dict[str, MapKind]
    programs: dict[str, Program]

    def to_bytes(self) -> bytes:
        content = {
            "types": self.types,
            "licence": self.licence,
            "kernel_version": self.kernel_version,
            "maps": {
                name: [made.kind, made.key_size, made.value_size, made.max_entries, made.flags]
                for name, made in self.maps.items()
            },
            "programs": {
                name: [program.kind, base64.b64encode(program.code).decode(), program.maps, program.target]
                for name, program in self.programs.items()
            },
        }
        return json.dumps(content).encode()


def program_of(kind: str, code: bytes, names: Mapping[int, Mapping[int, str]], target: int = 0) -> Program:
    """Return a program whose instructions have numbers for maps; `names` are the maps' names by source and number."""
    places = tuple((at, names[source][number]) for at, source, number in maps_in(code))
    return Program(kind, code, places, target)


def bytecode_from(raw: bytes) -> Bytecode:
    """Read what `Bytecode.to_bytes` wrote; raise NonsenseError."""
    try:
        content = json.loads(raw)
        maps = {_text(name): MapKind(*map(_number, row)) for name, row in content["maps"].items()}
        programs = {_text(name): _program(row, maps) for name, row in content["programs"].items()}
        return Bytecode(
            _text(content["types"]),
            _text(content["licence"]),
            _number(content["kernel_version"]),
            maps,
            programs,
        )
    except (ValueError, KeyError, TypeError, AttributeError) as fault:
        raise NonsenseError(f"{raw[:80]!r} ({fault!r})") from None


def _program(row: Any, maps: Mapping[str, MapKind]) -> Program:
    kind, text, places, target = row
    code = base64.b64decode(text, validate=True)
    if len(code) % INSTRUCTION.size:
        raise ValueError(f"{len(code)} bytes of instructions")
    named = tuple((_number(at), _text(name)) for at, name in places)
    if [at for at, _, _ in maps_in(code)] != [at for at, _ in named] or not {
        name for _, name in named
    } <= set(maps):
        raise ValueError(f"other maps: {places}")
    return Program(_text(kind), code, named, _number(target))


def maps_in(code: bytes) -> list[tuple[int, int, int]]:
    """Return of each instruction that loads an address of a map or of its value: offset, source, and immediate.

    The offset is in bytes; the source is FROM_MAP or FROM_VALUE.
    """
    return [
        (number * INSTRUCTION.size, registers >> 4, immediate)
        for number, (operation, registers, _, immediate) in enumerate(INSTRUCTION.iter_unpack(code))
        if operation == LOAD_64 and registers >> 4 in (FROM_MAP, FROM_VALUE)
    ]


def _text(content: Any) -> str:
    if not isinstance(content, str):
        raise TypeError(f"no text: {content!r}")
    return content


def _number(content: Any) -> int:
    if not isinstance(content, int):
        raise TypeError(f"no number: {content!r}")
    return content
