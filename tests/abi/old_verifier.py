# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What Linux 4.4 demands of a kprobe program that root loads, as a walk over its instructions.

Newer kernels accept more. The rules are those of kernel/bpf/verifier.c there, in words of our own. Values are
followed as far as that kernel follows them: what it cannot know (that a copy of a tested pointer is tested, the sum
of two constants) is not known here either. In parentheses: the kernel that knew more.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from tests.abi.old_programs import (
    ADD,
    ALU,
    ALU64,
    ARRAY,
    ARSH,
    CALL,
    CONTEXT,
    CTX,
    DATA,
    DIV,
    END,
    EXIT,
    FRAME,
    HASH,
    HELPERS,
    JA,
    JEQ,
    JNE,
    LDX,
    LOOKUP,
    LSH,
    MEM,
    MOD,
    MOV,
    ONLY_WITH,
    PERF_EVENT_ARRAY,
    RSH,
    SIZES,
    ST,
    STACK,
    STX,
    UNKNOWN,
    XADD,
    Instruction,
    Map,
    State,
    Value,
)

MOST_INSTRUCTIONS, MOST_WALKED = 4095, 32768


class RefusedError(Exception):
    """At which instruction the kernel would refuse the program, and why."""


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
