# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What an exception means: of one alert, or the end; and what is said of it. The ends themselves: tests/live."""

from __future__ import annotations

import errno
import logging
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import sockbpf
from sockbpf.counters import Counters
from sockbpf.errors import SockbpfError
from sockbpf.process import life

STARTS_BY_ITSELF = {"process/life.py", "commands/demo.py", "store/child.py"}
"""The one place; what is no monitor; and a thread that ends the process when a pipe does, and does nothing else."""


def test_threads_are_started_in_one_place() -> None:
    root = Path(sockbpf.__file__).parent
    others = {
        str(file.relative_to(root))
        for file in root.rglob("*.py")
        if "threading.Thread(" in file.read_text() or "start_new_thread" in file.read_text()
    }
    assert others == STARTS_BY_ITSELF


@pytest.mark.parametrize("error", [ValueError(), KeyError(), OSError(), RuntimeError(), RecursionError()])
def test_what_can_be_the_fault_of_one_alert_sets_it_aside(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    counters = Counters()
    with life.setting_aside(counters, "an-id/exceeded/7"):
        raise error
    assert counters.snapshot()["set_aside"] == 1
    assert f"set aside: an-id/exceeded/7: {type(error).__name__}, at test_life.py:" in caplog.text


@pytest.mark.parametrize("error", [MemoryError(), SystemExit(), KeyboardInterrupt(), life.NoThreadError("x")])
def test_what_makes_going_on_impossible_is_not_kept_back(error: BaseException) -> None:
    counters = Counters()
    with pytest.raises(type(error)), life.setting_aside(counters, "an-id"):
        raise error
    assert counters.snapshot()["set_aside"] == 0


def test_an_exceptions_own_text_is_not_logged() -> None:
    for error in (ValueError("s3cret"), KeyError("s3cret"), OSError("s3cret")):
        assert "s3cret" not in life.described(error)
    assert "Too many open files" in life.described(OSError(errno.EMFILE, "Too many open files"))
    assert "pids.max" in life.described(RuntimeError("can't start new thread"))
    assert life.described(SockbpfError("made to be read")) == "made to be read"


def test_a_thread_that_does_not_beat_is_late(monkeypatch: pytest.MonkeyPatch) -> None:
    beaten, ends = threading.Event(), threading.Event()

    def run(pulse: life.Pulse) -> None:
        while not ends.wait(0.001):
            if beaten.is_set():
                pulse.beat()

    thread = life.start_thread("slow", run, limit_s=0.0)
    other = life.start_thread("hopeless", run, limit_s=0.0, restart_helps=False)
    try:
        while "slow" not in life.late():
            assert thread.is_alive()
        assert "hopeless" not in life.late(), "a restart would not help it"
    finally:
        ends.set()
        thread.join()
        other.join()
    assert "slow" not in life.late(), "it has ended"


ENDS = """
import sys, threading, time
from sockbpf.process import life
from sockbpf.counters import Counters

class Unheard:
    def __del__(self):
        raise MemoryError

def say(line):
    print(line, flush=True)
    if sys.argv[1] == "stuck":
        threading.Event().wait()

life.begin(Counters(), [say])
if sys.argv[1] in ("thread", "stuck"):
    life.start_thread("fated", lambda _: sys.exit(0))
elif sys.argv[1] == "plain thread":
    threading.Thread(target=lambda: {}[1], name="fated").start()
elif sys.argv[1] == "destructor":
    Unheard()
elif sys.argv[1] == "stop":
    life.end_by(0.1)
time.sleep(600)
"""


@pytest.mark.parametrize("how", ["thread", "stuck", "plain thread", "destructor", "stop"])
def test_the_process_ends_with_a_line_whatever_hangs(how: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", ENDS, how], capture_output=True, text=True, timeout=60, check=False
    )
    assert (ran.returncode, ran.stderr) == (1, "")
    assert ran.stdout.startswith("sockbpf ends, exit code 1: ")
    assert ran.stdout.count("\n") == 1


def test_what_cannot_be_heard_is_logged_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    class Odd:
        def __del__(self) -> None:
            raise KeyError("s3cret")

    with caplog.at_level(logging.ERROR), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "unraisablehook", life._on_unheard)
        Odd()
    assert "ignored: KeyError" in caplog.text
    assert "s3cret" not in caplog.text
