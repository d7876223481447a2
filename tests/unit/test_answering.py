# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Whoever asks for the status gets one; nobody who hangs, floods or is another user costs anything."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from sockbpf.counters import Counters
from sockbpf.errors import UnsupportedError
from sockbpf.monitor.answering import ANSWER_BYTES, BACKLOG, Answering, line_of
from sockbpf.monitor.asking import ask, order
from sockbpf.process.peer import ORDER

DEADLINE_S = 30.0


class Loop:
    """Stands for the monitor's loop: it gives a status whenever it is woken, unless it hangs."""

    def __init__(self, path: Path | None) -> None:
        self.counters = Counters()
        self.orders: list[Mapping[str, Any]] = []
        self.hangs = self.fails = False
        self.made = 0
        self.status: dict[str, Any] = {"state": "watching", "open": []}
        self._woken, self._ends = threading.Event(), False
        self.answering = Answering(path, self._woken.set, self.counters, self._take)
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        self.answering.start()

    def _take(self, order: Mapping[str, Any]) -> dict[str, Any]:
        self.orders.append(order)
        return {"silences": []}

    def _run(self) -> None:
        while not self._ends:
            if self._woken.wait(1) and not self.hangs:
                self._woken.clear()
                self.answering.give_wanted(self._make)

    def _make(self) -> dict[str, Any]:
        self.made += 1
        if self.fails:
            raise KeyError("s3cret")
        return self.status

    def end(self) -> None:
        self.answering.stop()
        self._ends = True
        self._woken.set()
        self._thread.join()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "run" / "m.sock"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def start(path: Path, stack: ExitStack) -> Callable[[], Loop]:
    def start() -> Loop:
        loop = Loop(path)
        stack.callback(loop.end)
        return loop

    return start


def asked(path: Path) -> dict[str, Any]:
    """Ask until there is somebody who answers."""
    end_s = time.monotonic() + DEADLINE_S
    while True:
        try:
            return ask(path)
        except UnsupportedError:
            if time.monotonic() > end_s:
                raise
            time.sleep(0.005)


def connected(path: Path, stack: ExitStack) -> socket.socket:
    client = stack.enter_context(socket.socket(socket.AF_UNIX))
    client.connect(str(path))  # it waits while there is no room
    return client


def test_it_answers_and_only_its_user_can_ask(path: Path, start: Callable[[], Loop]) -> None:
    loop = start()
    loop.status["over"] = 7
    assert asked(path)["over"] == 7
    assert [stat.S_IMODE(at.stat().st_mode) for at in (path.parent, path)] == [0o700, 0o600]
    loop.answering.stop()
    assert not path.exists()


def ordering(path: Path, stack: ExitStack, said: bytes) -> socket.socket:
    """Send an order, or a part of one, and return the connection."""
    client = stack.enter_context(socket.socket(socket.AF_UNIX))
    client.bind(ORDER + os.urandom(8).hex().encode())
    client.connect(str(path))
    client.sendall(said)
    return client


def test_an_order_is_taken_and_answered(path: Path, start: Callable[[], Loop]) -> None:
    loop = start()
    asked(path)
    made = loop.made
    assert order(path, {"do": "list", "text": "x" * 30_000}) == {"silences": []}
    assert loop.orders == [{"do": "list", "text": "x" * 30_000}]
    assert loop.made == made


@pytest.mark.parametrize("said", [b"", b"{", b"[1]\n", b"\xff\n", b"[" * 65_536, b'{"a": 1}' * 9000 + b"\n"])
def test_what_is_no_order_is_none(
    said: bytes, path: Path, start: Callable[[], Loop], stack: ExitStack
) -> None:
    loop = start()
    asked(path)
    client = ordering(path, stack, said)
    client.shutdown(socket.SHUT_WR)
    client.settimeout(DEADLINE_S)
    with suppress(ConnectionResetError):  # it was longer than what is read of it
        assert json.loads(client.recv(65536)) == {"silences": []}
    assert loop.orders == [{}]
    assert asked(path)["state"] == "watching"


def test_an_order_that_does_not_come_holds_up_others_for_a_second(
    path: Path, start: Callable[[], Loop], stack: ExitStack
) -> None:
    loop = start()
    asked(path)
    begun_s = time.monotonic()
    ordering(path, stack, b'{"do": ')
    ask(path)  # which waits for 3 s
    assert time.monotonic() - begun_s > 0.5
    assert loop.orders == []


def test_no_status_is_made_unless_it_is_asked_for(path: Path, start: Callable[[], Loop]) -> None:
    loop = start()
    loop.answering.give_wanted(loop._make)
    assert loop.made == 0
    asked(path)
    assert loop.made == 1


def test_who_asks_again_and_again_is_given_the_same(path: Path, start: Callable[[], Loop]) -> None:
    loop = start()
    asked(path)
    begun_s = time.monotonic()
    for _ in range(101):
        ask(path)
    took_s = time.monotonic() - begun_s
    assert loop.made <= 2 + took_s / 0.5
    assert took_s > 101 * 0.009  # each answer waits for the one before


def test_clients_that_hang_hold_up_nobody(path: Path, start: Callable[[], Loop], stack: ExitStack) -> None:
    loop = start()
    loop.status["open"] = [{"id": "x" * 1000} for _ in range(100)]
    asked(path)
    for _ in range(BACKLOG * 3):
        connected(path, stack)  # it never reads
    assert len(ask(path)["open"]) == 100  # within the 3 s that it waits: each would take one


def test_a_loop_that_hangs_is_said(path: Path, start: Callable[[], Loop]) -> None:
    loop = start()
    asked(path)
    time_s = time.monotonic() + 0.6
    while time.monotonic() < time_s:
        pass
    loop.hangs = True
    told = ask(path)
    assert (told["state"], told["pid"]) == ("hangs", os.getpid())
    loop.hangs = False
    assert asked(path)["state"] == "watching"


def test_a_status_that_cannot_be_made_harms_nobody(path: Path, start: Callable[[], Loop]) -> None:
    loop = start()
    loop.fails = True
    assert asked(path)["blind"] == ["its status cannot be made, see its log"]
    assert loop.counters.snapshot()["status_failed"]


def test_of_a_long_answer_the_mildest_are_left_out() -> None:
    status = {"state": "watching", "open": [{"n": n, "text": "x" * 5000} for n in range(100)]}
    line = line_of(status)
    assert len(line) <= ANSWER_BYTES
    shown = [each["n"] for each in json.loads(line)["open"]]
    assert shown == list(range(25))


HOLDER = """
import sys, time
from pathlib import Path
from sockbpf.counters import Counters
from sockbpf.monitor.answering import Answering
Answering(Path(sys.argv[1]), lambda: None, Counters()).start()
time.sleep(600)
"""


def holder(path: Path, stack: ExitStack) -> subprocess.Popen[bytes]:
    """Start another process that has the socket."""
    process = subprocess.Popen([sys.executable, "-c", HOLDER, str(path)])
    stack.callback(process.wait)
    stack.callback(process.kill)
    asked(path)
    return process


def test_that_of_another_monitor_stays_its_own(
    path: Path, start: Callable[[], Loop], stack: ExitStack, caplog: pytest.LogCaptureFixture
) -> None:
    other = holder(path, stack)
    loop = start()
    end_s = time.monotonic() + DEADLINE_S
    while not loop.counters.snapshot()["status_failed"]:
        assert time.monotonic() < end_s
        time.sleep(0.005)
    if caplog.records:  # another test may have begun a log of its own
        assert f"another monitor has it, process {other.pid}" in caplog.text
    assert ask(path)["pid"] == other.pid


def test_that_of_a_killed_monitor_is_taken_over(
    path: Path, start: Callable[[], Loop], stack: ExitStack
) -> None:
    other = holder(path, stack)
    other.send_signal(signal.SIGKILL)
    other.wait()
    assert path.is_socket()
    with pytest.raises(
        UnsupportedError, match=r"no monitor answers at .*Connection refused. Remedy: start one"
    ):
        ask(path)
    start()
    assert asked(path)["state"] == "watching"


def test_what_is_no_socket_is_left_alone(path: Path, start: Callable[[], Loop]) -> None:
    path.parent.mkdir()
    path.write_text("something of somebody")
    loop = start()
    end_s = time.monotonic() + DEADLINE_S
    while not loop.counters.snapshot()["status_failed"]:
        assert time.monotonic() < end_s
        time.sleep(0.005)
    assert path.read_text() == "something of somebody"


def test_a_monitor_that_is_stopped_is_said(path: Path, stack: ExitStack) -> None:
    other = holder(path, stack)
    other.send_signal(signal.SIGSTOP)
    with pytest.raises(UnsupportedError, match=rf"process {other.pid}, does not answer within 0.2 s"):
        ask(path, 0.2)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"", "gives no status"),
        (b"[1]\n", "gives no status"),
        (b'{"state"', "only a part"),
        (b"{}", "no status"),
    ],
)
def test_what_gives_no_status_is_said(path: Path, stack: ExitStack, answer: bytes, said: str) -> None:
    path.parent.mkdir()
    server = stack.enter_context(socket.socket(socket.AF_UNIX))
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        with server.accept()[0] as client, suppress(OSError):
            client.sendall(answer)

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(UnsupportedError, match=said):
        ask(path)
    thread.join()


def test_an_answer_without_end_is_not_waited_for(path: Path, stack: ExitStack) -> None:
    path.parent.mkdir()
    server = stack.enter_context(socket.socket(socket.AF_UNIX))
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        with server.accept()[0] as client, suppress(OSError):
            while True:
                client.sendall(b"x" * 65536)

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(UnsupportedError):
        ask(path)
    thread.join()


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to become another user")
def test_another_user_is_not_answered(stack: ExitStack) -> None:
    """Even where the folder lets it in: the mode alone keeps it out, and without that its credentials do."""
    folder = Path(stack.enter_context(TemporaryDirectory()))
    folder.chmod(0o755)
    path = folder / "m.sock"
    loop = Loop(path)
    stack.callback(loop.end)
    asked(path)
    program = f"import socket; s = socket.socket(1); s.connect({str(path)!r}); print(s.recv(9))"
    nobody = [
        "setpriv",
        "--reuid=65534",
        "--regid=65534",
        "--clear-groups",
        "/usr/bin/python3",
        "-c",
        program,
    ]
    refused = subprocess.run(nobody, capture_output=True, text=True, check=False)
    assert "PermissionError" in refused.stderr
    path.chmod(0o666)
    assert subprocess.run(nobody, capture_output=True, text=True, check=True).stdout == "b''\n"
