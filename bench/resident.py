# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the monitor is at rest and in a storm: start, memory, CPU; and what a look at very many sockets costs."""

from __future__ import annotations

import os
import re
import resource
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

from bench.cost import floor
from bench.delivery import DATAGRAM, monitoring, reader
from bench.figure import Figure, median
from tests.live.waiting import until

STARTS = 11
START_GOAL_S = 1.0
REST_GOAL_MIB = 60
GROWTH_GOAL_MIB = 50
STORM = 10_007
CHURN = 30_011
"""Episodes one after the other: an hour of one in 0.12 s."""
COUNTS = (100, 10_000, 100_000)
HELD_BY_ONE = 10_000
"""Sockets of one process: below the usual limit of descriptors."""
WATCHED_S = 20.0
TICKS = os.sysconf("SC_CLK_TCK")
HOLD = """
import socket, sys
held = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(int(sys.argv[1]))]
for number, sock in enumerate(held):
    sock.bind((f"127.{sys.argv[2]}.{number >> 8}.{number & 255}", 20054))
print("held", flush=True)
sys.stdin.read()
"""


def memory_mib(pid: int) -> tuple[float, float]:
    """Return RSS and PSS."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    sizes = dict(re.findall(r"^(Rss|Pss): +(\d+) kB", text, re.MULTILINE))
    return int(sizes["Rss"]) / 1024, int(sizes["Pss"]) / 1024


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


@contextmanager
def compiling() -> Iterator[None]:
    """Have nothing of an earlier start."""
    with TemporaryDirectory() as folder, patch.dict(os.environ, RUNTIME_DIRECTORY=folder):
        yield


def start(rounds: int) -> list[Figure]:
    """Measure from the command to armed."""
    first, again, empty = [], [], []
    for _ in range(rounds):
        with compiling():
            first.append(_armed_s())
            again.append(_armed_s())
        begun = time.monotonic()
        with floor():
            empty.append(time.monotonic() - begun)
    return [
        Figure(
            f"start, command to armed, {which}",
            "s",
            tuple(took),
            f"at most {START_GOAL_S:g} s",
            median(took) <= START_GOAL_S,
            "empty programs by BCC",
            tuple(empty),
        )
        for which, took in (("compiling", first), ("what was compiled is kept", again))
    ]


def _armed_s() -> float:
    with monitoring() as (monitor, _):
        return time.monotonic() - monitor.started


def storm_and_churn(crowd: int, churn: int) -> list[Figure]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, crowd + 4096)), hard))
    with floor() as process:
        empty = memory_mib(process)
    with monitoring() as (monitor, stamps), ExitStack() as stack:
        pid = monitor.pid
        rest = memory_mib(pid)
        writer = reader(stack)
        sockets = [_bound(stack, number) for number in range(crowd)]
        cpu_before_s, begun = cpu_s(pid), time.monotonic()
        for sock in sockets:
            writer.sendto(bytes(DATAGRAM), sock.getsockname())
        crossed_s = time.monotonic() - begun
        for sock in sockets:
            sock.recv(DATAGRAM)
        most = rest[0]
        for number in range(2 * crowd):
            stamps.next(protocol="udp", local_port=SERVICE)
            if number % 500 == 0:
                most = max(most, memory_mib(pid)[0])
        storm_cpu_s = cpu_s(pid) - cpu_before_s
        after_storm = memory_mib(pid)
        for _ in range(churn):
            sock = sockets[0]
            writer.sendto(bytes(DATAGRAM), sock.getsockname())
            sock.recv(DATAGRAM)
            stamps.next(event="exceeded", protocol="udp", local_port=SERVICE)
        after_churn = memory_mib(pid)
        assert monitor.stop() == 0
        counts = monitor.counters()
        lost = {
            name: counts[name]
            for name in ("lost_submit", "lost_ring", "dropped", "given_up", "episodes_full")
        }
        assert not any(lost.values()), lost
    return [
        Figure(
            "resident memory at rest",
            "MiB",
            (rest[0],),
            f"at most {REST_GOAL_MIB}",
            rest[0] <= REST_GOAL_MIB,
            "empty programs by BCC",
            (empty[0],),
            f"PSS {rest[1]:.0f} against {empty[1]:.0f}",
        ),
        Figure(
            f"a storm, {crowd} crossings in {crossed_s:.1f} s: growth",
            "MiB",
            (most - rest[0],),
            f"at most {GROWTH_GOAL_MIB}, all told",
            most - rest[0] <= GROWTH_GOAL_MIB,
            note=f"{storm_cpu_s:.1f} CPU seconds, {2 * crowd} alerts; after it {after_storm[0] - rest[0]:+.0f} MiB",
        ),
        Figure(
            f"{churn} episodes later: growth since the storm",
            "MiB",
            (after_churn[0] - after_storm[0],),
            "none",
            after_churn[0] - after_storm[0] <= 1,
            note=f"{after_churn[0] - rest[0]:+.0f} MiB since the start",
        ),
    ]


SERVICE = 20_053


def _bound(stack: ExitStack, number: int) -> socket.socket:
    made = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    made.bind((f"127.1.{number >> 8}.{number & 255}", SERVICE))
    return made


@contextmanager
def idle_sockets(count: int) -> Iterator[None]:
    """Have that many sockets open, in several processes."""
    with ExitStack() as stack:
        for number in range(-(-count // HELD_BY_ONE)):
            mine = min(HELD_BY_ONE, count - number * HELD_BY_ONE)
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", HOLD, str(mine), str(number + 2)],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                )
            )
            stack.callback(process.kill)
            assert process.stdout
            assert process.stdout.readline() == b"held\n"
        yield


def many_sockets(counts: tuple[int, ...], watched_s: float) -> list[Figure]:
    """Measure CPU seconds a minute with so many idle sockets, a sweep of them apart, against `ss` each second."""
    figures = []
    with monitoring(sweep={"interval": "1h"}) as (monitor, _):
        armed_s = cpu_s(monitor.pid)
    for count in counts:
        with idle_sockets(count):
            with monitoring(sweep={"interval": "1h"}) as (monitor, _):
                begun_s = cpu_s(monitor.pid)
                _pass(watched_s)
                hooks = (cpu_s(monitor.pid) - begun_s) * 60 / watched_s
            ss = _ss_cpu_s(max(3, int(watched_s / 4))) * 60
        figures.append(
            Figure(
                f"CPU a minute with {count} idle sockets",
                "s",
                (hooks,),
                rival="ss -tuan each second",
                rival_values=(ss,),
                note=f"a sweep, at the start and each 30 s: {max(0.0, begun_s - armed_s) * 1e3:.0f} ms",
            )
        )
    return figures


def _pass(seconds: float) -> None:
    end = time.monotonic() + seconds
    until(lambda: time.monotonic() >= end, "the time", seconds + 60)


def _ss_cpu_s(times: int) -> float:
    """Return the CPU seconds of one `ss`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    for _ in range(times):
        subprocess.run(["ss", "-tuan"], check=True, stdout=subprocess.DEVNULL)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / times


def measure(*, quick: bool) -> list[Figure]:
    if quick:
        return [*start(1), *storm_and_churn(503, 101), *many_sockets((100,), 2.0)]
    return [*start(STARTS), *storm_and_churn(STORM, CHURN), *many_sockets(COUNTS, WATCHED_S)]
