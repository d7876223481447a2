# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How often the hooks' programs run on a host where nothing is over: for a message, for a request.

The kernel counts the runs, so whatever else the machine does at the time matters only if it uses sockets.
"""

from __future__ import annotations

import re
import subprocess
from contextlib import ExitStack
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from bench.cost import KINDS, PROGRAMS, SIZE, build, counting, message_ns, runs_of, sockbpf
from bench.figure import Figure
from bench.throughput import PORT, nginx

if TYPE_CHECKING:
    from collections.abc import Callable

MESSAGES, REQUESTS_S = 100_000, 5
GOALS = {"tcp": 4, "udp": 3}
REQUEST_GOAL = 8
SPARE = 1.05
"""What else the machine does adds a few runs."""


def requests(seconds: int) -> int:
    """Make keep-alive requests to nginx; return how many."""
    command = ["wrk", "-t1", "-c32", f"-d{seconds}", f"http://127.0.0.1:{PORT + 1}/"]
    ran = subprocess.run(command, capture_output=True, text=True, check=True)
    found = re.search(r"(\d+) requests in", ran.stdout)
    assert found, ran.stdout
    return int(found[1])


def _runs(work: Callable[[], int]) -> dict[str, float]:
    """Return how often each program runs for one of what the work does."""
    before = runs_of(PROGRAMS)
    done = work()
    return {
        name: (runs - before.get(name, (0, 0))[0]) / done for name, (runs, _) in runs_of(PROGRAMS).items()
    }


def _figure(name: str, runs: dict[str, float], goal: int) -> Figure:
    """Return the figure; the note names each program that runs for more than a hundredth."""
    by_name = ", ".join(f"{each:.2f} {which}" for which, each in sorted(runs.items()) if each > 0.01)
    whole = sum(runs.values())
    return Figure(name, "runs", (whole,), f"at most {goal}", whole <= goal * SPARE, note=by_name)


def measure(*, quick: bool) -> list[Figure]:
    """Return the runs for a message, TCP and UDP, and for a request of nginx, of both ends."""
    count, seconds = (10_000, 1) if quick else (MESSAGES, REQUESTS_S)
    with TemporaryDirectory() as folder, ExitStack() as stack:
        program = build(folder)
        stack.enter_context(nginx())
        stack.enter_context(sockbpf())
        stack.enter_context(counting())

        def messages(kind: str) -> int:
            message_ns(program, kind, count)
            return count

        figures = [
            _figure(
                f"runs of hooks for a message of {SIZE} bytes, {kind.upper()}",
                _runs(lambda kind=kind: messages(kind)),  # type: ignore[misc]
                GOALS[kind],
            )
            for kind in KINDS
        ]
        request = _runs(lambda: requests(seconds))
    return [
        *figures,
        _figure("runs of hooks for a keep-alive request of nginx, both ends", request, REQUEST_GOAL),
    ]
