# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What `sockbpf top` takes: to its first screen, of memory, of a core; how soon a key is answered on a busy host."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import tempfile
import termios
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.figure import Figure, median
from bench.look import idle_connections
from bench.resident import HELD_BY_ONE, cpu_s, memory_mib
from tests.live.monitoring import sockbpf

COUNT = 10_000
STARTS, KEYS = 11, 41
WATCHED_S = 20.0
PAINT_GOAL_MS, MEMORY_GOAL_MIB, CPU_GOAL_PERCENT, KEY_GOAL_MS = 600, 60, 5, 200
LINES, COLUMNS = 24, 80
LOOKED = b"not empty"
PAINTED = b"q quit"
PAGES = (b"choose a row", LOOKED)
"""What `?` shows, and what it shows again."""
SETTINGS = "url: http://127.0.0.1:9/\nthresholds: {send: 100, recv: 100}\n"
"""By which each of the full queues is over."""
FULL = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0), backlog=64)
held = []
for _ in range(int(sys.argv[1])):
    held += [socket.create_connection(listener.getsockname()), listener.accept()[0]]
    held[-1].sendall(bytes(2003))
print("held", flush=True)
sys.stdin.read()
"""
BUSY = "while True: pass"


class Screen:
    """A terminal of 80 x 24 with `sockbpf top` in it; what it writes is waited for."""

    def __init__(self, arguments: Sequence[str], folder: str) -> None:
        self.begun_s = time.monotonic()
        self.pid, self._end = pty.fork()
        if not self.pid:
            os.environ |= {
                "TERM": "xterm-256color",
                "RUNTIME_DIRECTORY": folder,
            }  # compiled once after a boot
            os.environ.pop("NO_COLOR", None)
            command = sockbpf("top", *arguments)
            os.execv(command[0], command)
        fcntl.ioctl(self._end, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))

    def wait_for(self, text: bytes, seconds: float = 60) -> float:
        """Return how long it took until this text was written, in milliseconds."""
        begun_s, seen = time.monotonic(), b""
        while text not in seen:
            left_s = begun_s + seconds - time.monotonic()
            assert left_s > 0, f"{text!r} not within {seconds} s: {seen[-2000:]!r}"
            if select.select([self._end], [], [], left_s)[0]:
                seen += os.read(self._end, 65536)
        return (time.monotonic() - begun_s) * 1000

    def rest(self, seconds: float) -> bytes:
        """Read for so long; return what was written."""
        end_s, seen = time.monotonic() + seconds, b""
        while (left_s := end_s - time.monotonic()) > 0:
            if select.select([self._end], [], [], left_s)[0]:
                seen += os.read(self._end, 65536)
        return seen

    def press(self, key: bytes) -> None:
        os.write(self._end, key)

    def close(self) -> None:
        os.kill(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)
        os.close(self._end)


@contextmanager
def top(folder: str, *arguments: str) -> Iterator[Screen]:
    screen = Screen(arguments, folder)
    try:
        yield screen
    finally:
        screen.close()


@contextmanager
def full_queues(count: int) -> Iterator[None]:
    """Have that many TCP sockets whose peer does not read."""
    with ExitStack() as stack:
        for first in range(0, count, HELD_BY_ONE // 2):  # each has a second socket, which does not read
            process = stack.enter_context(_child(FULL, str(min(count - first, HELD_BY_ONE // 2))))
            assert process.stdout
            assert process.stdout.readline() == b"held\n"
        yield


@contextmanager
def _child(program: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-c", program, *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        try:
            yield process
        finally:
            process.kill()


def paint(starts: int, folder: str) -> list[Figure]:
    """Measure from the command to the first screen, and to the first look."""
    painted, looked = [], []
    for _ in range(starts):
        with top(folder) as screen:
            screen.wait_for(PAINTED)
            painted.append((time.monotonic() - screen.begun_s) * 1000)
            screen.wait_for(LOOKED)
            looked.append((time.monotonic() - screen.begun_s) * 1000)
    is_met = median(painted) <= PAINT_GOAL_MS
    note = f"with sockets {median(looked):.0f} ms"
    goal = f"at most {PAINT_GOAL_MS} ms"
    return [Figure("top, command to first screen", "ms", tuple(painted), goal, is_met, note=note)]


def cost(what: str, seconds: float, folder: str, *arguments: str) -> list[Figure]:
    """Measure the share of a core and the memory while nobody presses a key."""
    with top(folder, *arguments) as screen:
        screen.wait_for(LOOKED)
        screen.rest(min(seconds, 3))
        before_s, begun_s = cpu_s(screen.pid), time.monotonic()
        said = re.findall(rb"a look each \d+ s", screen.rest(seconds))
        percent = 100 * (cpu_s(screen.pid) - before_s) / (time.monotonic() - begun_s)
        mib = memory_mib(screen.pid)[0]
    goal, most = f"at most {CPU_GOAL_PERCENT} %", f"at most {MEMORY_GOAL_MIB} MiB"
    note = said[-1].decode() if said else ""
    return [
        Figure(
            f"top, share of a core, {what}", "%", (percent,), goal, percent <= CPU_GOAL_PERCENT, note=note
        ),
        Figure(f"top, resident memory, {what}", "MiB", (mib,), most, mib <= MEMORY_GOAL_MIB),
    ]


def keys(what: str, presses: int, folder: str, *arguments: str) -> Figure:
    """Measure from a key to what it shows, with all cores busy."""
    took = []
    with ExitStack() as stack:
        for _ in range(os.cpu_count() or 1):
            stack.enter_context(_child(BUSY))
        screen = stack.enter_context(top(folder, *arguments))
        screen.wait_for(LOOKED)
        for number in range(presses):
            screen.rest(0.1 + 0.037 * (number % 11))  # at any time of a look
            screen.press(b"?")
            took.append(screen.wait_for(PAGES[number % 2]))
    is_met = max(took) <= KEY_GOAL_MS
    goal = f"each at most {KEY_GOAL_MS} ms"
    return Figure(f"top, key to answer, {what}", "ms", tuple(took), goal, is_met)


def measure(*, quick: bool) -> list[Figure]:
    count, starts, presses, seconds = (100, 1, 2, 0.5) if quick else (COUNT, STARTS, KEYS, WATCHED_S)
    with tempfile.TemporaryDirectory() as folder:
        settings = Path(folder, "config.yaml")
        settings.write_text(SETTINGS)
        with top(folder) as screen:
            screen.wait_for(LOOKED)
        figures = paint(starts, folder)
        with idle_connections(count):
            figures += cost(f"{count} idle sockets", seconds, folder)
        with full_queues(count):
            drowning = ("-c", str(settings), "--socket", "/nonexistent")
            figures += cost(f"{count} queues over", seconds, folder, *drowning)
            figures.append(keys(f"{count} queues over, all cores busy", presses, folder, *drowning))
    return figures
