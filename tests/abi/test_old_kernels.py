# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The programs as kernel headers of 4.4 and 4.15 make them: what 4.4's verifier demands is met, without that kernel.

With BTF the compiler makes other code of the same C, and newer verifiers let pass what 4.4 does not.
"""

from __future__ import annotations

import ctypes
import os
import re
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.abi.old_programs import Map
from tests.abi.old_verifier import RefusedError, Verifier
from tests.abi.programs import KINDS, PROGRAMS

BPF = Path(__file__).parents[2] / "bpf"
HEADERS = Path(__file__).parent / "old_headers"
VERSIONS = {"4.4.178": 0x0404B2, "4.9.0": 0x040900, "4.10.17": 0x040A11, "4.15.1": 0x040F01}
"""The two that are supported, and the last before and the first after struct sock was reordered."""

KPROBES = [name for name, kinds in PROGRAMS.items() if kinds == KINDS["KPROBE"]]
PROBE_READ, PROBE_READ_KERNEL = 4, 113
"""What BCC has the programs call where the kernel lacks the second, and what it is here."""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="making maps needs root")


def compiled(version: str, source: Path = BPF, text: str = "") -> Any:
    """Return what BCC makes of the C with the headers of this version; nothing is loaded but the maps."""
    import bcc

    flags = [f"-I{source}", f"-I{BPF}/shim/include", f"-DOLD_KERNEL={VERSIONS[version]}"]
    flags += ["-DWITH_KPROBES", "-DWITH_ANSWERS", "-DLAYOUT_FROM_HEADERS", "-DMAX_EPISODES=17"]
    flags += [f"-DWANT_{name}=1" for name in KPROBES]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BCC_KERNEL_SOURCE", str(HEADERS))
        what = {"text": text} if text else {"src_file": str(source / "monitor.c")}
        return bcc.BPF(cflags=flags, **what)


def program(bpf: Any, name: str) -> bytes:
    """Return a program as that kernel would be given it."""
    from bcc import lib

    size = lib.bpf_function_size(bpf.module, name.encode())
    code = ctypes.string_at(lib.bpf_function_start(bpf.module, name.encode()), size)
    call = struct.pack("=BBhi", 0x85, 0, 0, PROBE_READ_KERNEL), struct.pack("=BBhi", 0x85, 0, 0, PROBE_READ)
    return b"".join(
        call[1] if code[at : at + 8] == call[0] else code[at : at + 8] for at in range(0, size, 8)
    )


def maps(code: bytes) -> dict[int, Map]:
    """Return the maps that the program names, as the kernel describes them."""
    found = {}
    for op, registers, _, fd in struct.iter_unpack("=BBhi", code):
        if op == 0x18 and registers >> 4:
            said = dict(
                re.findall(r"^(\w+):\s+(\d+)$", Path(f"/proc/self/fdinfo/{fd}").read_text(), re.MULTILINE)
            )
            found[fd] = Map(int(said["map_type"]), int(said["key_size"]), int(said["value_size"]))
    return found


@pytest.fixture(scope="module", params=VERSIONS)
def bpf(request: pytest.FixtureRequest) -> Iterator[Any]:
    made = compiled(request.param)
    yield made
    made.cleanup()


@pytest.mark.parametrize("name", KPROBES)
def test_4_4_takes_a_program(bpf: Any, name: str) -> None:
    code = program(bpf, name)
    print(f"{name}: {len(code) // 8} instructions, {Verifier(code, maps(code)).verify()} walked")


@pytest.mark.parametrize("header", sorted({path.name for path in BPF.glob("*.h")} - {"tracepoints.h"}))
def test_a_header_parses_alone(header: str) -> None:
    compiled("4.15.1", text=f'#include "{header}"\n').cleanup()


@pytest.mark.parametrize("version", VERSIONS)
def test_fields_are_found(version: str) -> None:
    """Protocol and type, which as bit-fields have no address, and the word of both; a field that came with 4.10."""
    has_deficit = VERSIONS[version] >= VERSIONS["4.10.17"] & ~0xFF
    text = f"""
    #include "sock.h"
    _Static_assert(OFF_sk_protocol == offsetof(struct sock, flag_bytes) + 1, "sk_protocol");
    _Static_assert(OFF_sk_type == offsetof(struct sock, flag_bytes) + 2, "sk_type");
    _Static_assert(OFF_KIND == offsetof(struct sock, flag_bytes), "the word of both");
    _Static_assert(KIND_MASK == 0xffffff00 && KIND_UDP == (2 << 16 | 17 << 8), "without the flags");
    #if {int(has_deficit)} != defined(OFF_udp_forward_deficit)
    #error forward_deficit
    #endif
    """
    compiled(version, text=text).cleanup()


SPOILED = {
    "counters added to at a computed place": (
        "episode.h",
        'asm volatile("" : : "i"(__builtin_offsetof(struct tally, field)));',
        "",
        "no address of memory: unknown",
    ),
    "a value submitted": (
        "episode.h",
        "event = *open;\n\tend(ctx, key, &event, size);",
        "end(ctx, key, open, size);",
        "not on the stack: value",
    ),
    "a read to what is not set": ("shortcuts.h", "type value_ = 0;", "type value_;", "not all set"),
}
"""Of the C one thing undone that is there for 4.4: the file, what stands there, what instead, the refusal."""


@pytest.mark.parametrize("what", SPOILED)
def test_spoiled_programs_are_refused(what: str, tmp_path: Path) -> None:
    """The canary: programs that the newest kernels take."""
    spoiled, good, bad, reason = SPOILED[what]
    for path in BPF.glob("*.[ch]"):
        text = path.read_text()
        assert path.name != spoiled or good in text
        (tmp_path / path.name).write_text(text.replace(good, bad) if path.name == spoiled else text)
    bpf = compiled("4.4.178", tmp_path)
    code = program(bpf, "kp_sock_wfree")
    with pytest.raises(RefusedError, match=reason):
        Verifier(code, maps(code)).verify()
    bpf.cleanup()
