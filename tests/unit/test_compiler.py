# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Whatever happens to the compiling process: an answer, or a reason with what it said, in time, and then its end."""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from sockbpf.errors import UnsupportedError
from sockbpf.kernel.build.bytecode import INSTRUCTION, Bytecode, MapKind, Program
from sockbpf.kernel.build.compiler import Compiler
from sockbpf.kernel.build.order import Order, order_from

ORDER = Order(("-DWANT_tp_a=1",), {"tp_a": "raw tracepoint", "kp_b": "kprobe"})
CODE = INSTRUCTION.pack(0xB7, 0, 0, 0) + INSTRUCTION.pack(0x95, 0, 0, 0)
PROGRAMS = {"tp_a": Program("raw tracepoint", CODE, ()), "kp_b": Program("kprobe", CODE, ())}
BYTECODE = Bytecode("BTF", "GPL", 0x061200, {"own": MapKind(1, 8, 8, 1024, 0)}, PROGRAMS)
FAULT = b'{"fault": "no types"}'
BEGIN = """
import os, signal, sys, time
types = sys.argv[1]
def say(answer): os.write(1, answer); os.close(1)
"""
TAKEN = BEGIN + "raw = sys.stdin.buffer.read()\n"
SILENT_S = 0.3


def compiler(program: str, patience_s: float = 30) -> Compiler:
    """Start such a program in place of the compiler."""
    return Compiler("btf", [sys.executable, "-c", program], patience_s)


def failure(program: str, patience_s: float = 30) -> str:
    """Return what is said of a compiler that fails; nothing of it is left."""
    before = set(os.listdir("/proc/self/fd"))
    with closing(compiler(program, patience_s)) as made:
        made.ask(ORDER)
        with pytest.raises(UnsupportedError) as caught:
            made.answer()
        pid = made._process.pid
    assert not Path(f"/proc/{pid}").exists()
    assert set(os.listdir("/proc/self/fd")) == before
    return str(caught.value)


def test_an_order_arrives_whole() -> None:
    assert order_from(ORDER.to_bytes()) == ORDER


def test_what_it_makes_is_returned(tmp_path: Path) -> None:
    order = tmp_path / "order"
    keep = f"open({str(order)!r}, 'wb').write(raw + types.encode())"
    with closing(compiler(f"{TAKEN}{keep}; say({BYTECODE.to_bytes()!r})")) as made:
        made.ask(ORDER)
        assert made.answer() == BYTECODE
    assert order.read_bytes() == ORDER.to_bytes() + b"btf"


FAILURES = {
    "killed": ("os.kill(os.getpid(), signal.SIGKILL)", "was killed. Remedy: it needs some 150 MB of memory"),
    "crashed": ("os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV"),
    "exited": ("sys.exit(7)", "ended with 7"),
    "raised": ("print(1 / 0)", r"ended with 1\n(.*\n)*ZeroDivisionError: division by zero"),
    "killed after its answer": (
        f"say({BYTECODE.to_bytes()!r}); os.kill(os.getpid(), signal.SIGKILL)",
        "was killed",
    ),
    "silent": ("pass", "makes no sense: b''"),
    "nonsense": ("say(b'nonsense')", "makes no sense: b'nonsense'"),
    "other JSON": ("say(b'[7]')", r"makes no sense: b'\[7\]'"),
    "half an answer": (f"say({BYTECODE.to_bytes()[:99]!r})", "makes no sense"),
    "a fault": (f"say({FAULT!r})", "^no types$"),
    "a fault and why": (f"print('why', file=sys.stderr); say({FAULT!r})", r"^no types\nwhy$"),
    "other programs": (
        f"say({replace(BYTECODE, programs={}).to_bytes()!r})",
        "made other programs than it was asked for",
    ),
}


@pytest.mark.parametrize("what", FAILURES)
def test_a_failure_is_named(what: str) -> None:
    program, said = FAILURES[what]
    assert re.search(said, failure(TAKEN + program))


def test_one_that_ends_before_it_is_asked_is_named() -> None:
    with closing(compiler(f"{BEGIN}sys.exit(7)")) as made:
        made._process.wait(30)
        made.ask(ORDER)
        with pytest.raises(UnsupportedError, match="ended with 7"):
            made.answer()


@pytest.mark.parametrize("program", ["time.sleep(600)", f"say({BYTECODE.to_bytes()!r}); time.sleep(600)"])
def test_one_that_hangs_is_waited_for_and_no_longer(program: str) -> None:
    begun_s = time.monotonic()
    assert f"has not answered for {SILENT_S:g} s" in failure(TAKEN + program, SILENT_S)
    assert SILENT_S <= time.monotonic() - begun_s < 30


def test_one_that_is_not_there_is_named() -> None:
    with pytest.raises(UnsupportedError, match=r"cannot be started: .*No such file"):
        Compiler("auto", ["/nonexistent/python"])


def test_only_its_last_lines_are_named() -> None:
    said = failure(f"{TAKEN}print(*range(1009), sep='\\n', file=sys.stderr); sys.exit(3)")
    assert said.splitlines() == ["the compiler ended with 3", *map(str, range(989, 1009))]
