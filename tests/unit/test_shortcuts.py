# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Numbers of our own in compiled code become what the kernel wants; each shortcut is turned on by itself."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sockbpf.kernel.build.bytecode import INSTRUCTION, Bytecode, Program
from sockbpf.kernel.build.order import order_of
from sockbpf.kernel.build.shortcuts import (
    DIRECT,
    KERNEL_FUNCTION,
    Shortcut,
    compiled_program,
    taken_by,
    trial_of_direct_values,
    with_kernel_calls,
)

END = INSTRUCTION.pack(0x95, 0, 0, 0)
HELPER, JUMP = INSTRUCTION.pack(0x85, 0, 0, 14), INSTRUCTION.pack(0x05, 0, 7, KERNEL_FUNCTION)
CALL, PATCHED = INSTRUCTION.pack(0x85, 0, 0, KERNEL_FUNCTION + 1009), INSTRUCTION.pack(0x85, 0x20, 0, 1009)


def from_map(descriptor: int) -> bytes:
    return INSTRUCTION.pack(0x18, 0x11, 0, descriptor) + INSTRUCTION.pack(0, 0, 0, 0)


def value_of(number: int) -> bytes:
    return INSTRUCTION.pack(0x18, 0x23, 0, number) + INSTRUCTION.pack(0, 0, 0, 0)


def test_a_value_is_found_by_the_number_of_its_map() -> None:
    code = from_map(3) + value_of(DIRECT["settings"]) + value_of(DIRECT["tally"]) + END
    program = compiled_program("kprobe", code, {3: "own", 1: "no", 2: "no"}, 0)
    descriptors = {"own": 1009, "settings": 1013, "tally": 1019}
    assert program.with_maps(descriptors) == from_map(1009) + value_of(1013) + value_of(1019) + END


def test_calls_of_kernel_functions_are_told_from_helpers() -> None:
    assert with_kernel_calls(HELPER + CALL + JUMP + END) == HELPER + PATCHED + JUMP + END


def bytecode(code: bytes) -> Bytecode:
    return replace(trial_of_direct_values(), programs={"kp_a": Program("kprobe", code, ())})


@pytest.mark.parametrize(
    ("code", "taken"),
    [
        (HELPER + from_map(3) + END, set()),
        (PATCHED + END, {Shortcut.CASTS}),
        (value_of(3) + END, {Shortcut.DIRECT_VALUES}),
        (PATCHED + value_of(3) + END, set(Shortcut)),
    ],
)
def test_what_programs_take_is_seen_in_them(code: bytes, taken: set[Shortcut]) -> None:
    assert taken_by(bytecode(code)) == taken


@pytest.mark.parametrize("shortcut", Shortcut)
def test_a_shortcut_is_turned_on_by_itself(shortcut: Shortcut) -> None:
    flags = {
        each: set(order_of((), symbols={}, max_episodes=17, shortcuts={each}).flags) for each in Shortcut
    }
    plain = set(order_of((), symbols={}, max_episodes=17).flags)
    (others,) = set(Shortcut) - {shortcut}
    assert flags[shortcut] & flags[others] == plain
    assert flags[shortcut] > plain


def test_the_compiler_is_given_the_numbers_that_stand_for_maps() -> None:
    flags = order_of((), symbols={}, max_episodes=17, shortcuts={Shortcut.DIRECT_VALUES}).flags
    assert {f"-DDIRECT_{name}={number}" for name, number in DIRECT.items()} <= set(flags)
    assert len(set(DIRECT.values())) == len(DIRECT)
