# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Shortcuts: code that makes programs cheaper, and that only newer kernels accept. bpf/shortcuts.h is the C's half.

Each shortcut is turned on by itself: casts need 6.2, direct values only 5.2. docs/kernel-tricks.md says why each is
there, what happens without it, and which test proves it. Every number that both halves need is defined here and given
to the C by -D.
"""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

from sockbpf.kernel.build.bytecode import (
    CALL,
    FROM_MAP,
    FROM_VALUE,
    INSTRUCTION,
    LOAD_64,
    Bytecode,
    MapKind,
    maps_in,
    program_of,
)
from sockbpf.kernel.build.hooks import HookKind

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sockbpf.kernel.build.btf import Btf
    from sockbpf.kernel.build.bytecode import Program


class Shortcut(Enum):
    """One shortcut; the value is its name in log lines."""

    CASTS = "casts"
    """A pointer gets its type, so that one instruction reads a field, without a helper's call: 6.2."""

    DIRECT_VALUES = "direct values"
    """The address of a map's only value is a constant in the program, without a look-up: 5.2."""


ALL = frozenset(Shortcut)

DIRECT = {"settings": 1, "tally": 2}
"""The maps with one value, read through a direct address, and the number of each in compiled code."""

OF_KERNEL_FUNCTION = 2
"""BPF_PSEUDO_KFUNC_CALL as the source of a call: the immediate is the id of a function in BTF."""

KERNEL_FUNCTION = 0x40000000
"""The C adds this to such an id, to mark it as no helper's number: BCC has no other way for that."""

ARRAY, LRU_HASH, LPM_TRIE = 2, 9, 11
"""enum bpf_map_type"""

NO_PREALLOC = 1
"""BPF_F_NO_PREALLOC, which a trie must have."""

CAST = "bpf_rdonly_cast"
CAST_TO = ("sock", "tcp_sock", "udp_sock", "sk_buff", "refcount_struct")
"""The kernel's structs to whose types pointers are cast."""


def definitions(wanted: Collection[Shortcut]) -> list[str]:
    """Return the compiler's arguments that turn these shortcuts on."""
    casts = ["-DWITH_CASTS", f"-DKERNEL_FUNCTION={KERNEL_FUNCTION:#x}"]
    values = ["-DWITH_DIRECT_VALUES", f"-DFROM_VALUE={FROM_VALUE}"]
    values += [f"-DDIRECT_{name}={number}" for name, number in DIRECT.items()]
    return [
        *(casts if Shortcut.CASTS in wanted else ()),
        *(values if Shortcut.DIRECT_VALUES in wanted else ()),
    ]


def type_ids(btf: Btf) -> list[str]:
    """Return the compiler's arguments for casts, `-DBTF_ID_<type>=<id>`; none where the kernel cannot cast."""
    cast = btf.function(CAST)
    ids = {CAST: cast} | {name: btf.struct(name) for name in CAST_TO}
    return [f"-DBTF_ID_{name}={number}" for name, number in ids.items() if cast]


def with_kernel_calls(code: bytes) -> bytes:
    """Return the instructions with the marked calls of kernel functions in the form that the kernel loads."""
    patched = bytearray()
    for operation, registers, offset, immediate in INSTRUCTION.iter_unpack(code):
        is_call = operation == CALL and immediate >= KERNEL_FUNCTION
        patched += INSTRUCTION.pack(
            operation,
            OF_KERNEL_FUNCTION << 4 if is_call else registers,
            offset,
            immediate - KERNEL_FUNCTION if is_call else immediate,
        )
    return bytes(patched)


def compiled_program(kind: str, code: bytes, names: Mapping[int, str], target: int) -> Program:
    """Return a program of the compiler's instructions; `names` are the names of the maps by descriptor."""
    values = {number: name for name, number in DIRECT.items()}
    return program_of(kind, with_kernel_calls(code), {FROM_MAP: names, FROM_VALUE: values}, target)


def taken_by(bytecode: Bytecode) -> frozenset[Shortcut]:
    """Return the shortcuts that these programs use."""
    taken = set()
    for program in bytecode.programs.values():
        if any(source == FROM_VALUE for _, source, _ in maps_in(program.code)):
            taken.add(Shortcut.DIRECT_VALUES)
        if any(
            operation == CALL and registers >> 4 == OF_KERNEL_FUNCTION
            for operation, registers, _, _ in INSTRUCTION.iter_unpack(program.code)
        ):
            taken.add(Shortcut.CASTS)
    return frozenset(taken)


def trial_of_direct_values() -> Bytecode:
    """Return the smallest program with a direct value: a kernel that loads it accepts direct values."""
    place = INSTRUCTION.pack(LOAD_64, FROM_VALUE << 4 | 1, 0, 0) + INSTRUCTION.pack(0, 0, 0, 0)
    end = INSTRUCTION.pack(0xB7, 0, 0, 0) + INSTRUCTION.pack(0x95, 0, 0, 0)  # return 0
    program = program_of(HookKind.TRACEPOINT.value, place + end, {FROM_VALUE: {0: "trial"}})
    return Bytecode("", "GPL", 0, {"trial": MapKind(ARRAY, 4, 8, 1, 0)}, {"trial": program})


def trial_of_rules() -> Bytecode:
    """Return a program with a loop, and the maps of which old kernels have not all: who takes these takes rules."""
    code = b"".join(
        INSTRUCTION.pack(*instruction)
        for instruction in (
            (0xB7, 0, 0, 16),  # r0 = 16
            (0x07, 0, 0, -1),  # r0 -= 1
            (0x55, 0, -2, 0),  # if r0 != 0 goto the line before: 5.3
            (0x95, 0, 0, 0),  # return 0
        )
    )
    maps = {
        "trial_lru": MapKind(LRU_HASH, 16, 4, 16, 0),  # 4.10
        "trial_trie": MapKind(LPM_TRIE, 24, 4, 16, NO_PREALLOC),  # 4.11
    }
    return Bytecode("", "GPL", 0, maps, {"trial": program_of(HookKind.TRACEPOINT.value, code, {})})
