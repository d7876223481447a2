# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a program for Linux 4.4 is made of, and what that kernel knows at each of its instructions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

STACK, CONTEXT = 512, 168
"""Bytes of the stack, and of struct pt_regs on x86-64, which register 1 points to and which can only be read."""

LD, LDX, ST, STX, ALU, JMP, _, ALU64 = range(8)
MEM, XADD = 0x60, 0xC0
SIZES = {0x00: 4, 0x08: 2, 0x10: 1, 0x18: 8}
ADD, DIV, LSH, RSH, NEG, MOD, MOV, ARSH, END = 0x00, 0x30, 0x60, 0x70, 0x80, 0x90, 0xB0, 0xC0, 0xD0
JA, JEQ, JNE, CALL, EXIT = 0x00, 0x10, 0x50, 0x80, 0x90

HASH, ARRAY, PROG_ARRAY, PERF_EVENT_ARRAY = range(1, 5)
ONLY_WITH = {12: {PROG_ARRAY}, 22: {PERF_EVENT_ARRAY}, 25: {PERF_EVENT_ARRAY}}
LOOKUP = 1
HELPERS: dict[int, tuple[str, ...]] = {
    LOOKUP: ("map", "key"),
    2: ("map", "key", "value", "anything"),  # map_update_elem
    3: ("map", "key"),  # map_delete_elem
    4: ("memory", "size", "anything"),  # probe_read
    5: (),  # ktime_get_ns
    6: ("memory", "size"),  # trace_printk
    8: (),  # get_smp_processor_id
    12: ("ctx", "map", "anything"),  # tail_call
    14: (),  # get_current_pid_tgid
    15: (),  # get_current_uid_gid
    16: ("memory", "size"),  # get_current_comm
    22: ("map", "anything"),  # perf_event_read
    25: ("ctx", "map", "anything", "memory", "size"),  # perf_event_output
}
"""What a kprobe program may call (kernel/trace/bpf_trace.c), and what is wanted in registers 1 to 5."""


class Map(NamedTuple):
    """A map as a program sees it; sizes in bytes."""

    kind: int
    key_size: int
    value_size: int


class Instruction(NamedTuple):
    """One instruction, as include/uapi/linux/bpf.h lays it out."""

    code: int
    dst: int
    src: int
    off: int
    imm: int

    def jumps(self, *operations: int) -> bool:
        return self.code & 7 == JMP and self.code & 0xF0 in operations

    @property
    def branches(self) -> bool:
        return self.code & 7 == JMP and not self.jumps(JA, CALL, EXIT)

    @property
    def is_wide(self) -> bool:
        """Whether it loads 64 bits and takes two places."""
        return self.code == LD | 0x18


class Value(NamedTuple):
    """What is known of a register: a constant, a place on the stack, the descriptor of a map, by `kind`."""

    kind: str
    number: int = 0

    @property
    def is_pointer(self) -> bool:
        return self.kind not in ("unknown", "constant")


UNKNOWN, CTX, FRAME = Value("unknown"), Value("ctx"), Value("frame")
DATA = Value("data")


@dataclass
class State:
    """The registers that are set; each byte of the stack that is set, as DATA or as part of a pointer."""

    at: int = 0
    registers: dict[int, Value] = field(default_factory=lambda: {1: CTX, 10: FRAME})
    stack: dict[int, Value] = field(default_factory=dict)

    def copy(self, at: int) -> State:
        return State(at, dict(self.registers), dict(self.stack))

    def knows_more_than(self, old: State) -> bool:
        """Whether what was found good with `old` is good with this too."""
        mine = self.registers
        same = all(n in mine and value in (mine[n], UNKNOWN) for n, value in old.registers.items())
        return same and old.stack.items() <= self.stack.items()
