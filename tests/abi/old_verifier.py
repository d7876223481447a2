# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What Linux 4.4 demands of a kprobe program that root loads, as a walk over its instructions.

Newer kernels accept more. The rules are those of kernel/bpf/verifier.c there, in words of our own. Values are
followed as far as that kernel follows them: what it cannot know (that a copy of a tested pointer is tested, the sum
of two constants) is not known here either. In parentheses: the kernel that knew more.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

MOST_INSTRUCTIONS, MOST_WALKED = 4095, 32768
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


class RefusedError(Exception):
    """At which instruction the kernel would refuse the program, and why."""


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


class Verifier:
    """Walks every path of one program; `maps` by the file descriptors that stand in it."""

    def __init__(self, code: bytes, maps: dict[int, Map]) -> None:
        self.program = [
            Instruction(op, registers & 15, registers >> 4, off, imm)
            for op, registers, off, imm in struct.iter_unpack("=BBhi", code)
        ]
        self.maps = maps
        self.now = State()
        self._of_ctx: dict[int, bool] = {}

    def verify(self) -> int:
        """Return how many instructions were walked; raise RefusedError."""
        self._demand(len(self.program) <= MOST_INSTRUCTIONS, f"{len(self.program)} instructions")
        self._check_flow()
        joints = {i + 1 + one.off for i, one in enumerate(self.program) if one.branches}
        joints |= {i + 1 for i, one in enumerate(self.program) if one.jumps(JA)}
        explored: dict[int, list[State]] = {joint: [] for joint in joints}
        walked, ahead = 0, [self.now]
        while ahead:
            self.now = ahead.pop()
            while not any(self.now.knows_more_than(old) for old in explored.get(self.now.at, ())):
                if self.now.at in explored:
                    explored[self.now.at].append(self.now.copy(self.now.at))
                walked += 1
                self._demand(walked <= MOST_WALKED, f"more than {MOST_WALKED} instructions walked")
                one = self.program[self.now.at]
                if one.jumps(EXIT):
                    self._get(0)
                    break
                ahead += self._step(one)
        return walked

    def _demand(self, good: bool, why: str) -> None:
        if not good:
            raise RefusedError(f"{self.now.at}: {why}")

    def _next(self, at: int) -> Iterator[int]:
        one = self.program[at]
        if not one.jumps(JA, EXIT):
            yield at + 1 + one.is_wide
        if one.branches or one.jumps(JA):
            yield at + 1 + one.off

    def _check_flow(self) -> None:
        """No loop (5.3), nothing that cannot be reached, no way out but `exit`: a search in depth."""
        way, done = {0: self._next(0)}, set[int]()
        while way:
            self.now.at = next(reversed(way))
            there = next(way[self.now.at], None)
            if there is None:
                del way[self.now.at]
                done.add(self.now.at)
                continue
            self._demand(0 <= there < len(self.program), "leaves the program")
            self._demand(there not in way, f"a loop, back to {there}")
            if there not in done:
                way[there] = self._next(there)
        reached = done | {at + 1 for at in done if self.program[at].is_wide}
        self._demand(len(reached) == len(self.program), "some instructions are never reached")

    def _step(self, one: Instruction) -> list[State]:
        """Go on by one instruction; return where else the program may go on."""
        kind = one.code & 7
        if one.branches:
            return self._branch(one)
        if kind in (ALU, ALU64):
            self._compute(one)
        elif kind == LDX:
            self._demand(one.code & 0xE0 == MEM and not one.imm, "a load unknown to 4.4")
            self._set(one.dst, self._access(one, self._get(one.src)))
        elif kind in (ST, STX):
            self._store(one, kind)
        elif one.is_wide:
            self._demand(one.src in (0, 1), "an address inside a map (5.2)")
            if one.src:
                self._demand(self.maps[one.imm].kind <= PERF_EVENT_ARRAY, "a type of map unknown to 4.4")
            self._set(one.dst, Value("map", one.imm) if one.src else UNKNOWN)
            self.now.at += 1
        elif one.jumps(JA):
            self.now.at += one.off
        elif one.jumps(CALL):
            self._call(one)
        else:
            self._demand(False, f"code {one.code:#x} unknown to 4.4")
        self.now.at += 1
        return []

    def _get(self, number: int) -> Value:
        self._demand(number in self.now.registers, f"register {number} is not set")
        return self.now.registers[number]

    def _set(self, number: int, value: Value) -> None:
        self._demand(number < 10, "the frame pointer cannot be changed")
        self.now.registers[number] = value

    def _compute(self, one: Instruction) -> None:
        wide, operation, immediate = one.code & 7 == ALU64, one.code & 0xF0, not one.code & 8
        self._demand(operation <= END and not one.off, "an operation unknown to 4.4")
        self._demand(operation != END or not wide, "a byte swap of 64 bits (6.6)")
        self._demand(operation != ARSH or wide, "an arithmetic shift of 32 bits (4.18)")
        source = Value("constant", one.imm) if immediate or operation == END else self._get(one.src)
        if operation == MOV:
            known = wide or (immediate and one.imm >= 0)
            self._set(one.dst, source if known else UNKNOWN)
            return
        if immediate and operation in (LSH, RSH, ARSH):
            self._demand(0 <= one.imm < (64 if wide else 32), f"a shift by {one.imm}")
        self._demand(not (immediate and operation in (DIV, MOD)) or one.imm != 0, "a division by 0")
        is_place = self._get(one.dst) == FRAME and wide and immediate and operation == ADD
        self._set(one.dst, Value("stack", one.imm) if is_place else UNKNOWN)  # of maps: 4.9

    def _access(self, one: Instruction, base: Value, *, write: bool = False) -> Value:
        """Check an access to memory; return what stands there."""
        size, place = SIZES[one.code & 0x18], one.off + (base.number if base.kind == "stack" else 0)
        self._demand(place % size == 0, f"{size} bytes at {place} are not aligned")
        if size >= 4:
            of_ctx = self._of_ctx.setdefault(self.now.at, base == CTX)
            self._demand(of_ctx == (base == CTX), "the context here, other memory on another path")
        if base.kind == "value":
            self._demand(
                0 <= place <= self.maps[base.number].value_size - size, f"{place} is not in the value"
            )
        elif base == CTX:
            self._demand(not write and 0 <= place <= CONTEXT - size, f"{place} of the context")
        else:
            self._demand(base.kind in ("stack", "frame"), f"no address of memory: {base.kind}")
            self._demand(-STACK <= place < 0, f"{place} is not on the stack")
            return UNKNOWN if write else self._stacked(place, size)
        return UNKNOWN

    def _stacked(self, place: int, size: int) -> Value:
        found = {self.now.stack.get(place + i) for i in range(size)}
        if found == {DATA}:
            return UNKNOWN
        (value,) = found if len(found) == 1 and size == 8 else (None,)
        self._demand(value is not None, f"{size} bytes at {place} are not all set, or part of a pointer")
        return value or UNKNOWN

    def _store(self, one: Instruction, kind: int) -> None:
        mode, size, base = one.code & 0xE0, SIZES[one.code & 0x18], self._get(one.dst)
        value = self._get(one.src) if kind == STX else UNKNOWN
        atomic = mode == XADD and kind == STX
        self._demand(mode == MEM or atomic, "a store unknown to 4.4")
        self._demand(kind == ST or not one.imm, "an atomic operation other than an addition (5.12)")
        if atomic:
            self._demand(size >= 4, f"an atomic addition of {size} bytes")
            self._access(one, base)
            value = UNKNOWN
        self._access(one, base, write=True)
        if base.kind in ("stack", "frame"):
            self._demand(not value.is_pointer or size == 8, "a part of a pointer")
            place = one.off + base.number
            self.now.stack |= dict.fromkeys(range(place, place + size), value if value.is_pointer else DATA)

    def _branch(self, one: Instruction) -> list[State]:
        """Go on where the condition does not hold; return where it does, unless only one of them can be."""
        operation, immediate = one.code & 0xF0, not one.code & 8
        self._demand(operation < CALL, "a comparison unknown to 4.4 (4.14)")
        value = self._get(one.dst)
        if not immediate:
            self._get(one.src)
        taken, tested = self.now.at + 1 + one.off, immediate and operation in (JEQ, JNE)
        if tested and value == ("constant", one.imm):
            self.now.at = taken if operation == JEQ else self.now.at + 1
            return []
        there = self.now.copy(taken)
        self.now.at += 1
        if tested:
            same, other = (there, self.now) if operation == JEQ else (self.now, there)
            same.registers[one.dst] = Value("constant", one.imm)
            if value.kind == "value or null" and not one.imm:  # of its copies nothing is learned (4.10)
                other.registers[one.dst] = Value("value", value.number)
        return [there]

    def _call(self, one: Instruction) -> None:
        self._demand(one.src == 0, "a call of another program (4.16)")
        self._demand(one.imm in HELPERS, f"helper {one.imm} is unknown to kprobes of 4.4")
        used = Map(0, 0, 0)
        for number, wanted in enumerate(HELPERS[one.imm], start=1):
            value = self._get(number)
            if wanted == "map":
                self._demand(value.kind == "map", f"register {number} is no map: {value.kind}")
                used = self.maps[value.number]
                self._demand(used.kind in ONLY_WITH.get(one.imm, {HASH, ARRAY}), "not with this type of map")
            elif wanted == "ctx":
                self._demand(value == CTX, f"register {number} is not the context: {value.kind}")
            elif wanted == "size":
                self._demand(value.kind == "constant", f"register {number} is no constant: {value.kind}")
                self._check_memory(number - 1, value.number)
            elif wanted in ("key", "value"):
                self._check_memory(number, used.key_size if wanted == "key" else used.value_size)
        found = Value("value or null", self._get(1).number) if one.imm == LOOKUP else UNKNOWN
        self.now.registers = {n: value for n, value in self.now.registers.items() if n > 5} | {0: found}

    def _check_memory(self, number: int, size: int) -> None:
        """Demand of memory for a helper that it is on the stack (map values: 4.9) and was set before (4.9)."""
        kind, place = self._get(number)
        self._demand(kind == "stack", f"register {number} is not on the stack: {kind}")
        self._demand(place >= -STACK and 0 < size <= -place, f"{size} bytes at {place} are not on the stack")
        missing = [at for at in range(place, place + size) if self.now.stack.get(at) != DATA]
        self._demand(not missing, f"{size} bytes at {place}, not all set: {missing}")
