"""Whatever happens to the compiling process: an answer, or a reason with what it said, in time, and then its end."""

from __future__ import annotations

import os
import re
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest

from sockbpf.errors import UnsupportedError
from sockbpf.kernel.compiler import Compiler
from sockbpf.kernel.order import Order, order_from

ORDER = Order(("-DWANT_tp_a=1",), {"tp_a": "raw tracepoint", "kp_b": "kprobe"})
BEGIN = """
import os, signal, socket, sys, time
types, door = sys.argv[1], socket.socket(fileno=int(sys.argv[2]))
"""
TAKEN = BEGIN + "raw = door.recv(1 << 17)\n"
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


def test_what_it_hands_over_is_returned_and_outlives_it() -> None:
    answer = '{"types": "BTF", "programs": ["tp_a"], "refused": {"kp_b": "no"}, "tables": {"own": [8, 8]}}'
    program = (
        f"{TAKEN}fds = [os.memfd_create(n) for n in ('tp_a', 'own')]; os.write(fds[1], raw + types.encode())\n"
        f"socket.send_fds(door, [b'{answer}'], fds); door.recv(1)"
    )
    with closing(compiler(program)) as made:
        made.ask(ORDER)
        loaded = made.answer()
    written = os.pread(loaded.tables["own"].fd, 1 << 17, 0)
    assert written == ORDER.to_bytes() + b"btf"
    assert (list(loaded.programs), loaded.refused) == (["tp_a"], {"kp_b": "no"})
    loaded.close()


@pytest.mark.parametrize(
    ("program", "said"),
    [
        (
            f"{TAKEN}os.kill(os.getpid(), signal.SIGKILL)",
            "was killed. Remedy: it needs some 150 MB of memory",
        ),
        (f"{TAKEN}os.kill(os.getpid(), signal.SIGSEGV)", "ended by SIGSEGV"),
        (f"{TAKEN}sys.exit(7)", "ended with 7"),
        (f"{TAKEN}door.send(b'nonsense'); time.sleep(600)", r"makes no sense: b'nonsense'"),
        (f"{TAKEN}door.send(b'" + '{"fault": "no types"}' + "'); time.sleep(600)", "^no types$"),
        (
            f"{TAKEN}door.send(b'" + '{"types": "", "programs": [], "refused": {}, "tables": {}}' + "')",
            "did not answer what it was asked",
        ),
        (f"{TAKEN}print(1 / 0)", r"ended with 1\n(.*\n)*ZeroDivisionError: division by zero"),
    ],
)
def test_a_failure_is_told(program: str, said: str) -> None:
    assert re.search(said, failure(program))


def test_one_that_ends_before_it_is_asked_is_told() -> None:
    before = set(os.listdir("/proc/self/fd"))
    with closing(compiler(f"{BEGIN}sys.exit(7)")) as made:
        made._process.wait(30)
        made.ask(ORDER)
        with pytest.raises(UnsupportedError, match="ended with 7"):
            made.answer()
    assert set(os.listdir("/proc/self/fd")) == before


def test_one_that_hangs_is_waited_for_and_no_longer() -> None:
    begun_s = time.monotonic()
    assert f"has not answered for {SILENT_S:g} s" in failure(f"{TAKEN}time.sleep(600)", SILENT_S)
    assert SILENT_S <= time.monotonic() - begun_s < 30


def test_one_that_is_not_there_is_told() -> None:
    with pytest.raises(UnsupportedError, match=r"cannot be started: .*No such file"):
        Compiler("auto", ["/nonexistent/python"])


def test_only_the_last_of_what_it_said_is_told() -> None:
    said = failure(f"{TAKEN}print(*range(1009), sep='\\n'); sys.exit(3)")
    assert said.splitlines() == ["the compiler ended with 3", *map(str, range(989, 1009))]
