# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""From bytecode to maps and programs in the kernel, by BCC's runtime half."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sockbpf.errors import UnsupportedError
from sockbpf.kernel.attach.bpf import load_program
from sockbpf.kernel.build.hooks import HookKind
from sockbpf.kernel.libbcc import last_fault, library

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.kernel.build.bytecode import Bytecode, MapKind, Program

RAW_TRACEPOINT, KPROBE, TRACING = 17, 2, 26
"""enum bpf_prog_type; a return probe's program is a kprobe's, an iterator is one that traces."""

TYPES = {HookKind.TRACEPOINT: RAW_TRACEPOINT, HookKind.ITERATOR: TRACING}


@dataclass(frozen=True, slots=True)
class Table:
    """A map in the kernel; sizes in bytes."""

    fd: int
    key_size: int
    value_size: int


@dataclass(frozen=True, slots=True)
class Loaded:
    """What stands in the kernel, by name; whoever has it has to close the descriptors."""

    types: str
    """A word for where the kernel's types came from."""

    programs: Mapping[str, int]
    """Descriptors."""

    refused: Mapping[str, str]
    """Programs that the kernel would not load, and why."""

    tables: Mapping[str, Table]

    def close(self) -> None:
        """Let go of everything; what is still attached stays until it is detached."""
        for fd in (*self.programs.values(), *(table.fd for table in self.tables.values())):
            os.close(fd)


def load(bytecode: Bytecode) -> Loaded:
    """Make the maps and load the programs; nothing is attached. Raise UnsupportedError."""
    tables: dict[str, Table] = {}
    programs: dict[str, int] = {}
    refused: dict[str, str] = {}
    try:
        for name, made in bytecode.maps.items():
            tables[name] = Table(_make(name, made), made.key_size, made.value_size)
    except OSError as fault:
        Loaded("", programs, refused, tables).close()
        raise UnsupportedError(f"the kernel refuses the table {name}: {fault}") from None
    descriptors = {name: table.fd for name, table in tables.items()}
    for name, program in bytecode.programs.items():
        try:
            programs[name] = _load(name, program, bytecode, descriptors)
        except OSError as fault:
            refused[name] = str(fault)
    return Loaded(bytecode.types, programs, refused, tables)


def _make(name: str, made: MapKind) -> int:
    descriptor: int = library().bcc_create_map(
        made.kind, name.encode(), made.key_size, made.value_size, made.max_entries, made.flags
    )
    if descriptor < 0:
        raise last_fault()
    return descriptor


def _load(name: str, program: Program, bytecode: Bytecode, maps: Mapping[str, int]) -> int:
    kind = TYPES.get(HookKind(program.kind), KPROBE)
    code, terms = program.with_maps(maps), (bytecode.licence, bytecode.kernel_version)
    return load_program(kind, name, code, *terms, iterates=program.target)
