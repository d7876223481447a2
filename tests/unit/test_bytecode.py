# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Bytecode comes through as it was, its maps found again by name; nothing else is taken for it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from sockbpf.kernel.build.bytecode import (
    FROM_MAP,
    INSTRUCTION,
    Bytecode,
    MapKind,
    NonsenseError,
    bytecode_from,
    program_of,
)

MOVE, END = INSTRUCTION.pack(0xB7, 0, 0, 3), INSTRUCTION.pack(0x95, 0, 0, 0)
CONSTANT = INSTRUCTION.pack(0x18, 0x01, 0, 3) + INSTRUCTION.pack(0, 0, 0, 0)


def from_map(descriptor: int) -> bytes:
    """Return the two places of an instruction that loads a map's address."""
    return INSTRUCTION.pack(0x18, 0x11, 0, descriptor) + INSTRUCTION.pack(0, 0, 0, 0)


CODE = MOVE + from_map(3) + CONSTANT + from_map(5) + from_map(3) + END
PROGRAM = program_of("kprobe", CODE, {FROM_MAP: {3: "own", 5: "tally"}}, 1013)
KINDS = {"own": MapKind(1, 8, 8, 1024, 0), "tally": MapKind(2, 4, 24, 1, 0)}
BYTECODE = Bytecode("BTF", "GPL", 0x061200, KINDS, {"kp_a": PROGRAM})


def test_it_comes_through_as_it_was() -> None:
    assert bytecode_from(BYTECODE.to_bytes()) == BYTECODE


def test_maps_are_put_in_where_maps_stood_and_nowhere_else() -> None:
    expected = MOVE + from_map(1009) + CONSTANT + from_map(2**31 - 1) + from_map(1009) + END
    assert PROGRAM.with_maps({"own": 1009, "tally": 2**31 - 1}) == expected


def spoiled(**changed: Any) -> bytes:
    return json.dumps(json.loads(BYTECODE.to_bytes()) | changed).encode()


def spoiled_program(kind: Any, code: Any, places: Any) -> bytes:
    (good,) = json.loads(BYTECODE.to_bytes())["programs"].values()
    row = [given if given is not None else good[i] for i, given in enumerate((kind, code, places))]
    row += good[3:]
    return spoiled(programs={"kp_a": row})


NONSENSE = {
    "nothing": b"",
    "no text": b"\xff\xfe",
    "no JSON": b"Traceback",
    "no object": b"[1, 2]",
    "cut": BYTECODE.to_bytes()[:-7],
    "no types": spoiled(types=None),
    "a version in words": spoiled(kernel_version="6.18"),
    "a map without a size": spoiled(maps={"own": [1, 8], "tally": [2, 4, 24, 1, 0]}),
    "a size in words": spoiled(maps={"own": [1, 8, "8", 1, 0], "tally": [2, 4, 24, 1, 0]}),
    "a map is missing": spoiled(maps={"own": [1, 8, 8, 1, 0]}),
    "programs in a list": spoiled(programs=["kp_a"]),
    "no base64": spoiled_program(None, "=", None),
    "half an instruction": spoiled_program(None, "AAAA", []),
    "a map at another place": spoiled_program(None, None, [[0, "own"], [40, "tally"], [56, "own"]]),
    "a place without a map": spoiled_program(None, None, [[8, "own"], [40, "tally"]]),
    "a target in words": spoiled(programs={"kp_a": ["iterator", "", [], "tcp"]}),
    "an unknown map": spoiled_program(None, None, [[8, "own"], [40, "other"], [56, "own"]]),
}


@pytest.mark.parametrize("what", NONSENSE)
def test_nonsense_is_an_error(what: str) -> None:
    with pytest.raises(NonsenseError):
        bytecode_from(NONSENSE[what])
