# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Each demand of 4.4 can be missed: programs made by hand, one for each, beside their likes that miss none."""

from __future__ import annotations

import struct

import pytest

from tests.abi.old_programs import ARRAY, HASH, PERF_EVENT_ARRAY, Map
from tests.abi.old_verifier import MOST_INSTRUCTIONS, RefusedError, Verifier

MAPS = {
    3: Map(ARRAY, 4, 24),
    4: Map(HASH, 16, 112),
    5: Map(PERF_EVENT_ARRAY, 4, 4),
    6: Map(27, 0, 0),  # a ring buffer
}


def op(code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return struct.pack("=BBhi", code, src << 4 | dst, off, imm)


def copy(dst: int, src: int) -> bytes:
    return op(0xBF, dst, src)


def put(dst: int, imm: int) -> bytes:
    return op(0xB7, dst, imm=imm)


def add(dst: int, imm: int) -> bytes:
    return op(0x07, dst, imm=imm)


def load(dst: int, src: int, off: int, code: int = 0x61) -> bytes:
    return op(code, dst, src, off)


def store(dst: int, off: int, src: int, code: int = 0x63) -> bytes:
    return op(code, dst, src, off)


def call(helper: int) -> bytes:
    return op(0x85, imm=helper)


def if_zero(dst: int, skip: int) -> bytes:
    return op(0x15, dst, off=skip)


def of_map(dst: int, fd: int, kind: int = 1) -> bytes:
    return op(0x18, dst, kind, 0, fd) + op(0)


def place(dst: int, off: int) -> bytes:
    return copy(dst, 10) + add(dst, off)


END = put(0, 0) + op(0x95)
KEY = put(6, 0) + store(10, -4, 6)
LOOKUP = KEY + of_map(1, 3) + place(2, -4) + call(1)
ZEROED = put(6, 0) + b"".join(store(10, at, 6, 0x7B) for at in range(-112, 0, 8))
PROBE_READ = put(2, 8) + put(3, 0) + call(4) + END
SUBMIT = of_map(2, 5) + put(3, 0) + put(5, 112) + call(25) + END
SHORT = END * 2

GOOD = {
    "nothing": END,
    "the context is read": load(2, 1, 160, 0x79) + END,
    "a value that was tested": LOOKUP + if_zero(0, 1) + load(1, 0, 20) + END,
    "a value that was tested, then kept": LOOKUP
    + if_zero(0, 3)
    + store(10, -16, 0, 0x7B)
    + load(1, 10, -16, 0x79)
    + load(2, 1, 0)
    + END,
    "a read to the stack": ZEROED + place(1, -8) + PROBE_READ,
    "a submit from the stack": copy(7, 1) + ZEROED + copy(1, 7) + place(4, -112) + SUBMIT,
    "an atomic addition": LOOKUP + if_zero(0, 2) + put(1, 1) + op(0xC3, 0, 1, 8) + END,
    "an update": ZEROED + of_map(1, 4) + place(2, -16) + place(3, -112) + put(4, 1) + call(2) + END,
    "a jump back that is no loop": op(0x05, off=2) + END + if_zero(1, -3) + END,
    "4095 instructions": put(0, 0) * (MOST_INSTRUCTIONS - 1) + op(0x95),
    "one way only": put(2, 0) + if_zero(2, 1) + load(0, 9, 0) + END,
    "a sum of constants": put(2, 1) + add(2, 1) + END,
}

BAD = {
    # its shape
    "4096 instructions": (put(0, 0) * MOST_INSTRUCTIONS + op(0x95), "4096 instructions"),
    "a loop": (put(2, 3) + add(2, -1) + op(0x55, 2, off=-2) + END, "a loop, back to 1"),
    "never reached": (END + END, "never reached"),
    "no exit": (put(0, 0), "leaves the program"),
    "a jump out": (if_zero(1, 9) + END, "leaves the program"),
    "too many ways": (
        b"".join(load(2, 1, 0) + op(0x25, 2, off=1, imm=7) + store(10, -8 * n, 2, 0x7B) for n in range(1, 9))
        + put(0, 0) * 200 + END,
        "walked",
    ),
    # instructions of later kernels
    "a comparison of 32 bits": (op(0x16, 1) + END, "unknown to 4.4"),
    "less than": (op(0xA5, 1, off=0, imm=3) + END, "4.14"),
    "an arithmetic shift of 32 bits": (put(2, 1) + op(0xC4, 2, imm=3) + END, "4.18"),
    "a byte swap of 64 bits": (put(2, 1) + op(0xD7, 2, imm=16) + END, "6.6"),
    "a move that extends the sign": (op(0xBF, 2, 1, off=8) + END, "unknown to 4.4"),
    "a load that extends the sign": (load(2, 1, 0, 0x81) + END, "unknown to 4.4"),
    "an atomic exchange": (LOOKUP + if_zero(0, 2) + put(1, 1) + op(0xC3, 0, 1, 8, 0xE1) + END, "5.12"),
    "an atomic addition of 16 bits": (LOOKUP + if_zero(0, 2) + put(1, 1) + op(0xCB, 0, 1, 8) + END, "2 bytes"),
    "a call of another program": (op(0x85, src=1) + END, "4.16"),
    "an address inside a map": (of_map(2, 3, kind=2) + END, "5.2"),
    "a packet's byte": (op(0x30, imm=4) + END, "unknown to 4.4"),
    # helpers and maps
    "probe_read_kernel": (ZEROED + place(1, -8) + put(2, 8) + put(3, 0) + call(113) + END, "helper 113"),
    "a ring buffer": (of_map(2, 6) + END, "type of map"),
    "a look-up in a perf buffer": (KEY + of_map(1, 5) + place(2, -4) + call(1) + END, "type of map"),
    "a submit to a hash": (
        copy(7, 1) + ZEROED + copy(1, 7) + place(4, -112) + of_map(2, 4) + put(3, 0) + put(5, 112) + call(25) + END,
        "type of map",
    ),
    "a map by its address": (KEY + put(1, 3) + place(2, -4) + call(1) + END, "no map"),
    "a submit without the context": (ZEROED + put(1, 0) + place(4, -112) + SUBMIT, "not the context"),
    # memory
    "not tested": (LOOKUP + load(1, 0, 0) + END, "value or null"),
    "a copy of what was tested": (LOOKUP + copy(7, 0) + if_zero(0, 1) + load(1, 7, 0) + END, "value or null"),
    "kept before it was tested": (
        LOOKUP + store(10, -16, 0, 0x7B) + if_zero(0, 2) + load(1, 10, -16, 0x79) + load(2, 1, 0) + END,
        "value or null",
    ),
    "tested for null, and then used": (LOOKUP + op(0x55, 0, off=1) + load(1, 0, 0) + END, "no address"),
    "a computed place in a value": (LOOKUP + if_zero(0, 2) + add(0, 8) + load(1, 0, 0) + END, "no address"),
    "behind a value": (LOOKUP + if_zero(0, 1) + load(1, 0, 24) + END, "not in the value"),
    "before a value": (LOOKUP + if_zero(0, 1) + load(1, 0, -4) + END, "not in the value"),
    "not aligned": (LOOKUP + if_zero(0, 1) + load(1, 0, 2) + END, "not aligned"),
    "kernel memory": (load(2, 1, 112, 0x79) + load(3, 2, 0) + END, "no address"),
    "behind the context": (load(2, 1, 168, 0x79) + END, "of the context"),
    "the context is written": (put(2, 0) + store(1, 0, 2, 0x7B) + END, "of the context"),
    "context or stack": (
        KEY + copy(2, 1) + load(3, 1, 0) + if_zero(3, 2) + place(2, -4) + load(4, 2, 0) + END,
        "on another path",
    ),
    # the stack
    "more than 512 bytes": (put(2, 0) + store(10, -520, 2, 0x7B) + END, "not on the stack"),
    "above the stack": (put(2, 0) + store(10, 0, 2, 0x7B) + END, "not on the stack"),
    "the stack before it is set": (load(2, 10, -8, 0x79) + END, "not all set"),
    "half of it set": (put(2, 0) + store(10, -8, 2) + load(3, 10, -8, 0x79) + END, "not all set"),
    "half of a pointer is kept": (store(10, -8, 1) + END, "part of a pointer"),
    "half of a pointer is loaded": (store(10, -8, 1, 0x7B) + load(2, 10, -8) + END, "part of a pointer"),
    "a place of a place": (ZEROED + place(1, -16) + add(1, 8) + PROBE_READ, "not on the stack: unknown"),
    # what helpers are given
    "a read to what is not set": (place(1, -8) + PROBE_READ, "not all set"),
    "a read to what is half set": (put(6, 0) + store(10, -8, 6) + place(1, -8) + PROBE_READ, "not all set"),
    "set on one path only": (
        put(6, 0) + load(2, 1, 0) + if_zero(2, 1) + store(10, -8, 6, 0x7B) + place(1, -8) + PROBE_READ,
        "not all set",
    ),
    "a read to a value": (LOOKUP + if_zero(0, 4) + copy(1, 0) + PROBE_READ, "not on the stack: value"),
    "a read of a variable size": (
        load(7, 1, 0) + ZEROED + place(1, -8) + copy(2, 7) + put(3, 0) + call(4) + END,
        "no constant",
    ),
    "a read beyond the stack": (ZEROED + place(1, -8) + put(2, 16) + put(3, 0) + call(4) + END, "not on the stack"),
    "a read of nothing": (ZEROED + place(1, -8) + put(2, 0) + put(3, 0) + call(4) + END, "not on the stack"),
    "a submit of a value": (
        copy(7, 1) + LOOKUP + if_zero(0, 7) + copy(4, 0) + copy(1, 7) + of_map(2, 5) + put(3, 0) + put(5, 24)
        + call(25) + END,
        "not on the stack: value",
    ),
    "a value as a key": (LOOKUP + if_zero(0, 4) + copy(2, 0) + of_map(1, 3) + call(1) + END, "not on the stack"),
    "a value of another map": (
        LOOKUP + if_zero(0, 8) + copy(3, 0) + of_map(1, 3) + place(2, -4) + put(4, 0) + call(2) + END,
        "not on the stack: value",
    ),
    "a key with a hole": (KEY + of_map(1, 4) + place(2, -16) + call(1) + END, "not all set"),
    "a pointer in a key": (
        ZEROED + store(10, -16, 10, 0x7B) + of_map(1, 4) + place(2, -16) + call(1) + END,
        "not all set",
    ),
    # registers
    "a register that is not set": (copy(0, 7) + op(0x95), "register 7 is not set"),
    "nothing returned": (op(0x95), "register 0 is not set"),
    "an argument after a call": (call(5) + copy(2, 1) + END, "register 1 is not set"),
    "the frame pointer is changed": (add(10, 8) + END, "frame pointer"),
    "a shift too far": (put(2, 1) + op(0x67, 2, imm=64) + END, "a shift by 64"),
    "a division by 0": (put(2, 1) + op(0x37, 2) + END, "division by 0"),
}  # fmt: skip


@pytest.mark.parametrize("name", GOOD)
def test_a_good_program_is_accepted(name: str) -> None:
    assert Verifier(GOOD[name], MAPS).verify() > 0


@pytest.mark.parametrize("name", BAD)
def test_a_bad_program_is_refused(name: str) -> None:
    program, reason = BAD[name]
    with pytest.raises(RefusedError, match=reason):
        Verifier(program, MAPS).verify()
