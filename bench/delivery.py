# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How fast alerts get out, with the journal on a disk: how many in a second, and how long one takes.

The monitor has one core, the sockets and the receiver the other.
"""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, redirect_stdout
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.figure import Figure, percentile
from tests.live.monitoring import Monitor, launch
from tests.live.stamping import Stamps, stamping

THRESHOLD = 20_011
DATAGRAM = 30_011
"""On loopback its truesize is more than the threshold, and its reading leaves nothing."""

SOCKETS = 5_003
ROUNDS = 2
PER_SECOND = 100
SECONDS = 20
RATE_GOAL = 1000
P50_GOAL_MS, P99_GOAL_MS = 2.5, 10.0

SETTINGS: dict[str, Any] = {
    "thresholds": {"send": "1GiB", "recv": THRESHOLD},
    "repeat": "1h",
    "kernel": {"perf_pages": 1024},
}


@contextmanager
def monitoring(*, pinned: bool = True, **settings: Any) -> Iterator[tuple[Monitor, Stamps]]:
    """Run a monitor and a receiver; pinned, each on a core of its own if there are two, this on the latter."""
    cores = sorted(os.sched_getaffinity(0))
    with ExitStack() as stack, TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        stamps = stamping(stack)
        before = ["taskset", "-c", str(cores[0])] if pinned else []
        monitor = launch(Path(folder) / "monitor", stamps.url, SETTINGS | settings, before)
        stack.callback(monitor.stop)
        if pinned:
            os.sched_setaffinity(stamps.process.pid, {cores[-1]})
            os.sched_setaffinity(0, {cores[-1]})
            stack.callback(os.sched_setaffinity, 0, set(cores))
        with redirect_stdout(sys.stderr):  # where progress is told
            monitor.wait_armed()
        yield monitor, stamps


def reader(stack: ExitStack) -> socket.socket:
    made = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    made.bind(("127.0.0.1", 0))
    return made


def rate(sockets: int, rounds: int) -> Figure:
    """Measure alerts delivered in a second while more are owed than can be sent."""
    rates = []
    for _ in range(rounds):
        with monitoring() as (_monitor, stamps), ExitStack() as stack:
            writer = reader(stack)
            for _ in range(sockets):
                with reader_once() as sock:
                    writer.sendto(bytes(DATAGRAM), sock.getsockname())
                    sock.recv(DATAGRAM)
            arrivals = [stamps.next(protocol="udp")[0] for _ in range(2 * sockets)]
        rates.append((len(arrivals) - 1) / (arrivals[-1] - arrivals[0]))
    return Figure(
        "alerts delivered, journal on, one core",
        "per second",
        tuple(rates),
        goal=f"at least {RATE_GOAL}",
        met=min(rates) >= RATE_GOAL,
        note=f"{2 * sockets} alerts a run",
    )


@contextmanager
def reader_once() -> Iterator[socket.socket]:
    with ExitStack() as stack:
        yield reader(stack)


def lateness(seconds: int) -> list[Figure]:
    """Measure from the crossing to the request, at a steady rate."""
    took_ms = []
    with monitoring(events=["exceeded"]) as (_monitor, stamps), ExitStack() as stack:
        sock, writer = reader(stack), reader(stack)
        begun = time.monotonic()
        for number in range(seconds * PER_SECOND):
            time.sleep(max(0.0, begun + number / PER_SECOND - time.monotonic()))
            writer.sendto(bytes(DATAGRAM), sock.getsockname())
            arrived, told = stamps.next(event="exceeded", protocol="udp")
            took_ms.append((arrived - float(told["timestamp"])) * 1e3)
            sock.recv(DATAGRAM)
    what = f"crossing to request, journal on, {PER_SECOND} alerts a second"
    p50, p99 = percentile(took_ms, 0.5), percentile(took_ms, 0.99)
    return [
        Figure(f"{what}, p50", "ms", (p50,), f"at most {P50_GOAL_MS:g} ms", p50 <= P50_GOAL_MS),
        Figure(
            f"{what}, p99",
            "ms",
            (p99,),
            f"at most {P99_GOAL_MS:g} ms",
            p99 <= P99_GOAL_MS,
            note=f"max {max(took_ms):.1f}; {len(took_ms)} alerts",
        ),
    ]


def measure(*, quick: bool) -> list[Figure]:
    """Return the figures of delivery; quick ones are not to be believed."""
    return [rate(503 if quick else SOCKETS, 1 if quick else ROUNDS), *lateness(1 if quick else SECONDS)]
