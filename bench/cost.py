# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the hooks cost a host that is below its thresholds: messages over loopback, one thread, pinned to a core.

Without anything, with empty programs on the same hooks, with the monitor: in turns, so that what the machine does
besides falls on all three.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.delivery import monitoring
from bench.figure import Figure, median

MESSAGES = 40_000
ROUNDS, TIMES = 15, 5
"""Of each round the least of so many: whatever else a machine does only adds."""
ADDED_GOAL = 1.25
"""The monitor's added time over that of empty programs."""
OVER_FLOOR_GOAL_NS = 60
STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
HIGH = {"thresholds": {"send": "1GiB", "recv": "1GiB"}}
KINDS = ("tcp", "udp")
PROGRAMS = ("tp_", "kp_")
"""How the names of ours begin."""
SIZE = 100
"""Bytes; messages.c has it too."""


@contextmanager
def nothing() -> Iterator[None]:
    yield


@contextmanager
def floor() -> Iterator[int]:
    """Run empty programs on the same hooks; give the process that holds them, made as the tools of BCC are."""
    with subprocess.Popen(
        [sys.executable, "-m", "bench.floor"], stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout
            assert process.stdout.readline() == "armed\n"
            yield process.pid
        finally:
            process.kill()


@contextmanager
def sockbpf() -> Iterator[None]:
    with monitoring(pinned=False, **HIGH):
        yield


@contextmanager
def counting() -> Iterator[None]:
    """Have the kernel count the time of programs, which costs some itself."""
    before = STATS.read_text()
    STATS.write_text("1")
    try:
        yield
    finally:
        STATS.write_text(before)


def run_ns(names: tuple[str, ...]) -> tuple[int, int]:
    """Return the runs and the nanoseconds so far of loaded programs whose names begin so."""
    mine = runs_of(names).values()
    return sum(runs for runs, _ in mine), sum(ns for _, ns in mine)


def runs_of(names: tuple[str, ...]) -> dict[str, tuple[int, int]]:
    """Return the same by the programs' names, of which the kernel keeps 15 characters."""
    shown = subprocess.run(["bpftool", "-j", "prog", "show"], capture_output=True, check=True)
    found: dict[str, tuple[int, int]] = {}
    for each in json.loads(shown.stdout):
        name = each.get("name", "")
        if name.startswith(names):
            runs, ns = found.get(name, (0, 0))
            found[name] = runs + each.get("run_cnt", 0), ns + each.get("run_time_ns", 0)
    return found


def message_ns(program: Path, kind: str, count: int, standing: int = 0) -> float:
    """Return the CPU time of a message while so many bytes stand in the queue."""
    core = str(max(os.sched_getaffinity(0)))
    ran = subprocess.run(
        ["taskset", "-c", core, str(program), kind, str(count), str(standing)],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(ran.stdout)


def build(folder: str) -> Path:
    program = Path(folder) / "messages"
    source = Path(__file__).parent / "messages.c"
    subprocess.run(["gcc", "-O2", "-o", str(program), str(source)], check=True)
    return program


def measure(*, quick: bool) -> list[Figure]:
    """Return what a message takes with and without, and what a run of a program does."""
    rounds, times, count = (1, 1, 2_000) if quick else (ROUNDS, TIMES, MESSAGES)
    took: dict[tuple[str, str], list[float]] = {}
    per_run: dict[str, float] = {}
    with TemporaryDirectory() as folder:
        program = build(folder)
        for number in range(rounds):
            for name, around in (("alone", nothing), ("empty", floor), ("sockbpf", sockbpf)):
                with around():
                    for kind in KINDS:
                        least = min(message_ns(program, kind, count) for _ in range(times))
                        took.setdefault((name, kind), []).append(least)
                    if number == 0 and name != "alone":
                        per_run[name] = _per_run(program, count, name)
    figures = [_figure(kind, took) for kind in KINDS]
    over_ns = per_run["sockbpf"] - per_run["empty"]
    figures.append(
        Figure(
            "a hook's run, TCP and UDP",
            "ns",
            (per_run["sockbpf"],),
            f"at most {OVER_FLOOR_GOAL_NS} ns over the empty one",
            over_ns <= OVER_FLOOR_GOAL_NS,
            "an empty program",
            (per_run["empty"],),
            f"{over_ns:.0f} ns over it",
        )
    )
    return figures


def _per_run(program: Path, count: int, name: str) -> float:
    names = ("empty_",) if name == "empty" else PROGRAMS
    with ExitStack() as stack:
        stack.enter_context(counting())
        runs, ns = run_ns(names)
        for kind in KINDS:
            message_ns(program, kind, count)
        runs_after, ns_after = run_ns(names)
    return (ns_after - ns) / max(1, runs_after - runs)


def _figure(kind: str, took: dict[tuple[str, str], list[float]]) -> Figure:
    alone, empty, ours = (took[name, kind] for name in ("alone", "empty", "sockbpf"))
    added = tuple(one - other for one, other in zip(ours, alone, strict=True))
    added_empty = tuple(one - other for one, other in zip(empty, alone, strict=True))
    return Figure(
        f"added to a message of {SIZE} bytes, {kind.upper()}",
        "ns",
        added,
        f"at most {ADDED_GOAL} of that",
        median(added) <= ADDED_GOAL * median(added_empty),
        "an empty program on each hook",
        added_empty,
        f"{median(ours):.0f} with it, {median(alone):.0f} without",
    )
