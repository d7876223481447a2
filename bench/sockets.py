# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What `sockbpf sockets` takes on a host with very many sockets: time from the command to its end, memory."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Sequence

from bench.figure import Figure, median
from bench.look import idle_connections
from tests.live.monitoring import sockbpf

COUNT = 100_000
ROUNDS = 7
GOAL_S, GOAL_MIB = 1.0, 150

WAYS: dict[str, tuple[Sequence[str], bool]] = {
    "sockets": ((), True),
    "sockets --all": (("--all",), True),
    "sockets --all --port 20055": (("--all", "--port", "20055"), True),
    "sockets --summary, which takes a second": (("--summary",), False),
    "sockets --all --json, each of them": (("--all", "--json"), False),
}
"""The options of each, and whether the goal is meant for it."""


def _taken(arguments: Sequence[str], folder: str) -> tuple[float, float]:
    """Return the seconds and the greatest memory, MiB, of a command of sockbpf."""
    environment = os.environ | {"RUNTIME_DIRECTORY": folder}  # as in use: compiled once after a boot
    begun = time.monotonic()
    child = subprocess.Popen(
        sockbpf("sockets", *arguments), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment
    )
    _, status, used = os.wait4(child.pid, 0)
    took_s = time.monotonic() - begun
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0
    return took_s, used.ru_maxrss / 1024


def _ss_s() -> float:
    begun = time.monotonic()
    subprocess.run(["ss", "-tuanpem"], check=True, stdout=subprocess.DEVNULL)
    return time.monotonic() - begun


def listed(count: int, rounds: int) -> list[Figure]:
    """List so many idle TCP sockets in each way, beside what `ss -tuanpem` takes to show all."""
    figures = []
    has_goal = count == COUNT
    with tempfile.TemporaryDirectory() as folder, idle_connections(count):
        _taken((), folder)
        ss_s = tuple(_ss_s() for _ in range(max(1, rounds // 3)))
        for name, (arguments, is_meant) in WAYS.items():
            taken = [_taken(arguments, folder) for _ in range(rounds)]
            seconds, mib = (tuple(each) for each in zip(*taken, strict=True))
            is_met = median(seconds) <= GOAL_S and max(mib) <= GOAL_MIB
            figures.append(
                Figure(
                    f"{name}, {count} idle TCP sockets",
                    "s",
                    seconds,
                    f"at most {GOAL_S:g} s and {GOAL_MIB} MiB" if has_goal and is_meant else "",
                    is_met if has_goal and is_meant else None,
                    "ss -tuanpem",
                    ss_s,
                    f"{max(mib):.0f} MiB",
                )
            )
    return figures


def measure(*, quick: bool) -> list[Figure]:
    return listed(100, 1) if quick else listed(COUNT, ROUNDS)
