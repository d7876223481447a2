# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The monitor as a service: what a service manager is told, and when.

The test is the manager: the datagram socket of sd_notify(3) and a watchdog's interval in the environment of the real
monitor. Ready comes when it is armed, not before. While nothing happens the watchdog is told in time, by the loop:
when the loop alone stands still, with every other thread alive, nothing is told any more.

The unit file has no fault, and the capabilities that it leaves are enough to see what others own, elsewhere.
"""

from __future__ import annotations

import ctypes
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.live.monitoring import Monitor, StartMonitor
from tests.live.receiver import Receiver
from tests.live.sockets import fill, port, tcp_pair
from tests.live.waiting import until

UNIT = Path(__file__).parents[2] / "systemd" / "sockbpf.service"
PROGRAM = "/usr/local/bin/sockbpf"
ELSEWHERE = [
    "unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"',
    "sh", "setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups",
]  # fmt: skip
"""Another user in a network namespace that has no name."""

HOLD = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
server = listener.accept()[0]
client.setblocking(False)
try:
    while True:
        client.send(bytes(1 << 16))
except BlockingIOError:
    print(listener.getsockname()[1], flush=True)
input()
"""
HIGH = {"send": 300_011, "recv": 1 << 30}
"""Thresholds that only a sender reaches whose peer never reads: the loop has little else to do."""

WATCHDOG_S = 3.0
PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207

_libc = ctypes.CDLL(None, use_errno=True)


class Manager:
    """What the monitor told: each datagram, with the time it came and whether the ready file stood there."""

    def __init__(self, door: socket.socket, ready: Path) -> None:
        self._door, self._ready = door, ready
        self.told: list[tuple[float, str, bool]] = []
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        with suppress(OSError):  # the test is over
            while words := self._door.recv(4096):
                self.told.append((time.monotonic(), words.decode(), self._ready.exists()))

    def times(self, words: str) -> list[float]:
        return [at_s for at_s, said, _ in self.told if said == words]

    def alive(self) -> list[float]:
        return self.times("WATCHDOG=1")


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Manager]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as door:
        door.bind(str(tmp_path / "notify"))
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", str(int(WATCHDOG_S * 1e6)))
        yield Manager(door, tmp_path / "monitor0" / "ready")
        door.shutdown(socket.SHUT_RD)


@contextmanager
def loop_stopped(monitor: Monitor) -> Iterator[None]:
    """Stop the thread of the loop and none of the others, as a debugger does."""
    thread = ctypes.c_long(monitor.pid)  # the first thread has the number of the process
    asleep = Path(f"/proc/{monitor.pid}/wchan")
    until(
        lambda: "poll" in asleep.read_text(), "it sleeps"
    )  # stopped at work it may hold what all threads need
    for request in (PTRACE_SEIZE, PTRACE_INTERRUPT):
        assert not _libc.ptrace(request, thread, None, None), os.strerror(ctypes.get_errno())
    try:
        os.waitpid(monitor.pid, 0)
        yield
    finally:
        _libc.ptrace(PTRACE_DETACH, thread, None, None)


def test_ready_when_armed(start_monitor: StartMonitor, manager: Manager) -> None:
    monitor = start_monitor()
    until(lambda: any("READY=1" in words for _, words, _ in manager.told), "ready told")
    ready = [(words, armed) for _, words, armed in manager.told if "READY=1" in words]
    assert ready == [("READY=1\nSTATUS=watching by hooks", True)]
    until(lambda: "armed: " in monitor.log(), "its log line")


def test_ready_without_hooks(start_monitor: StartMonitor, manager: Manager) -> None:
    start_monitor(kernel={"hooks": "none"})
    until(
        lambda: any("READY=1\nSTATUS=watching by polling" in words for _, words, _ in manager.told), "ready"
    )


def test_alive_while_nothing_happens(
    start_monitor: StartMonitor, manager: Manager, strict_times: bool
) -> None:
    """With thresholds that nothing reaches and sweeps far apart there is nothing else to wake the loop."""
    start_monitor(thresholds={"send": 1 << 30, "recv": 1 << 30}, sweep={"interval": "1h"})
    until(lambda: len(manager.alive()) > 7, "told seven times more")
    between_s = [after - before for before, after in zip(manager.alive(), manager.alive()[1:], strict=False)]
    print(f"told every {min(between_s):.2f} to {max(between_s):.2f} s of {WATCHDOG_S} s")
    assert max(between_s) < WATCHDOG_S
    if strict_times:
        assert WATCHDOG_S / 4 < min(between_s) <= max(between_s) <= WATCHDOG_S / 2


def test_not_alive_when_the_loop_hangs(
    start_monitor: StartMonitor, manager: Manager, receiver: Receiver, stack: ExitStack
) -> None:
    """The workers go on trying a receiver that refuses, the watchdog loses patience; afterwards all goes on."""
    receiver.answer = lambda handler: handler.send_error(503)
    client, _server = tcp_pair(stack)
    monitor = start_monitor(thresholds=HIGH, delivery={"retry_max": "500ms"})
    fill(client)
    receiver.first(event="exceeded", local_port=port(client))
    until(manager.alive, "told")
    with loop_stopped(monitor):
        stopped_s, before, tried = time.monotonic(), len(manager.alive()), len(receiver.told)
        until(
            lambda: time.monotonic() > stopped_s + 2 * WATCHDOG_S and len(receiver.told) > tried + 3,
            "twice the watchdog's patience, and more tries",
        )
        assert len(manager.alive()) == before
    until(lambda: len(manager.alive()) > before, "told again")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_stopping(start_monitor: StartMonitor, manager: Manager, number: int) -> None:
    monitor = start_monitor()
    assert not manager.times("STOPPING=1")
    monitor.stop(number)
    until(lambda: manager.times("STOPPING=1"), "the end told")
    assert manager.told[-1][1] == "STOPPING=1"


def test_the_manager_goes_away(start_monitor: StartMonitor, manager: Manager, tmp_path: Path) -> None:
    monitor = start_monitor()
    until(manager.alive, "told")
    (tmp_path / "notify").unlink()
    assert monitor.stop() == 0
    assert "Traceback" not in monitor.log()


@pytest.mark.parametrize("file", [UNIT, UNIT.with_name("sockbpf-store.service")], ids=lambda file: file.stem)
def test_the_unit_has_no_fault(file: Path, tmp_path: Path) -> None:
    """Nor one that only warns: what systemd does not know it ignores, and the service would be less confined."""
    text = file.read_text()
    assert f"ExecStart={PROGRAM} " in text
    unit = tmp_path / file.name
    unit.write_text(text.replace(PROGRAM, sys.executable))  # it need not be installed
    said = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (said.returncode, said.stdout + said.stderr) == (0, "")


def test_the_capabilities_of_the_unit_are_enough(start_monitor: StartMonitor, receiver: Receiver) -> None:
    left = re.search(r"(?m)^CapabilityBoundingSet=(.*)$", UNIT.read_text())
    assert left
    only = ",".join(["-all", *(f"+{name.removeprefix('CAP_').lower()}" for name in left[1].split())])
    with subprocess.Popen(
        # not that of a virtual environment: another user may not get there
        [*ELSEWHERE, "/usr/bin/python3", "-c", HOLD],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout
        held = holder.stdout.readline().strip()
        monitor = start_monitor(before=["setpriv", f"--bounding-set={only}"], thresholds=HIGH)
        found = receiver.first(event="exceeded", type="SEND", remote_port=held)
        namespace = os.stat(f"/proc/{holder.pid}/ns/net").st_ino
        assert (found["pid"], found["netns"], found["mode"]) == (str(holder.pid), str(namespace), "poll")
        holder.communicate("\n")
        receiver.first(event="cleared", id=found["id"])
    warnings = [line for line in monitor.log().splitlines() if " WARNING " in line]
    assert all(" is out of reach of a " in line for line in warnings), warnings  # with thresholds that high
