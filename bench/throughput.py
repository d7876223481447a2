# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is left of a host's throughput: real programs over loopback, with the monitor and without, in turns.

And with empty programs on the same hooks, the least that any program there can cost. Server and client are pinned,
each to a core of its own, in all three: else where they happen to run weighs more than what is measured.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.cost import PROGRAMS, counting, floor, nothing, run_ns, sockbpf
from bench.figure import Figure, median
from tests.live.waiting import until

ROUNDS = 15
SECONDS = 1
GOAL = 0.98
PORT = 20_061
SERVER, CLIENT = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
"""Cores."""
NGINX = """
daemon off; pid {folder}/pid; error_log stderr; worker_processes 1; worker_cpu_affinity {cores:b};
events {{ worker_connections 1024; }}
http {{ access_log off; server {{ listen 127.0.0.1:{port}; location / {{ return 200 "well\\n"; }} }} }}
"""


@contextmanager
def iperf3_server() -> Iterator[None]:
    with subprocess.Popen(
        ["iperf3", "-s", "-B", "127.0.0.1", "-p", str(PORT)], stdout=subprocess.DEVNULL
    ) as process:
        try:
            _until_open(PORT)
            yield
        finally:
            process.kill()


@contextmanager
def nginx() -> Iterator[None]:
    with TemporaryDirectory() as folder:
        config = Path(folder) / "nginx.conf"
        config.write_text(NGINX.format(folder=folder, port=PORT + 1, cores=1 << SERVER))
        with subprocess.Popen(["nginx", "-p", folder, "-c", str(config)]) as process:
            try:
                _until_open(PORT + 1)
                yield
            finally:
                process.terminate()


def _until_open(port: int) -> None:
    def is_open() -> bool:
        shown = subprocess.run(
            ["ss", "-Htln", f"sport = :{port}"], capture_output=True, text=True, check=True
        )
        return bool(shown.stdout)

    until(is_open, f"somebody listens at {port}")


def iperf3(*arguments: str) -> float:
    """Return the received megabits per second."""
    cores = ["-A", f"{CLIENT},{SERVER}"]
    ran = subprocess.run(
        ["iperf3", "-c", "127.0.0.1", "-p", str(PORT), "-J", *cores, *arguments],
        capture_output=True,
        check=True,
    )
    end = json.loads(ran.stdout)["end"]
    received = end["sum_received"] if "sum_received" in end else end["sum"]
    return float(received["bits_per_second"]) / 1e6


def wrk(seconds: int) -> float:
    """Return the keep-alive requests per second."""
    ran = subprocess.run(
        ["taskset", "-c", str(CLIENT), "wrk", "-t1", "-c32", f"-d{seconds}", f"http://127.0.0.1:{PORT + 1}/"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"Requests/sec: +([\d.]+)", ran.stdout)
    assert found, ran.stdout
    return float(found[1])


def works(seconds: int) -> dict[str, tuple[str, Callable[[], float]]]:
    """Return the work by name, each with its unit."""
    time = ["-t", str(seconds)]
    return {
        "iperf3, one TCP stream": ("Mbit/s", lambda: iperf3(*time)),
        "iperf3, 64 TCP streams": ("Mbit/s", lambda: iperf3(*time, "-P", "64")),
        "iperf3, UDP, 1 kB": ("Mbit/s", lambda: iperf3(*time, "-u", "-b", "0", "-l", "1000")),
        "nginx and wrk, keep-alive": ("per second", lambda: wrk(seconds)),
    }


def runs_per_s(work: Callable[[], float]) -> float:
    """Return how often the hooks' programs run while this work is done."""
    with sockbpf(), counting():
        runs, begun_s = run_ns(PROGRAMS)[0], time.monotonic()
        work()
        return (run_ns(PROGRAMS)[0] - runs) / (time.monotonic() - begun_s)


def measure(*, quick: bool) -> list[Figure]:
    rounds, seconds = (1, 1) if quick else (ROUNDS, SECONDS)
    figures = []
    with ExitStack() as stack:
        stack.enter_context(iperf3_server())
        stack.enter_context(nginx())
        for name, (unit, work) in works(seconds).items():
            got: dict[str, list[float]] = {"alone": [], "empty": [], "sockbpf": []}
            around = {"alone": nothing, "empty": floor, "sockbpf": sockbpf}
            for number in range(rounds):
                # In the other order each time: what drifts falls on all.
                for one in sorted(got, reverse=bool(number % 2)):
                    with around[one]():
                        got[one].append(work())
            alone, empty, ours = got.values()
            figures.append(
                Figure(
                    name,
                    unit,
                    tuple(ours),
                    f"at least {GOAL} of that",
                    median(ours) >= GOAL * median(alone),
                    "without it",
                    tuple(alone),
                    f"hooks run {runs_per_s(work) / 1e6:.2g} million times a second; "
                    f"empty programs on them {median(empty) / median(alone):.3g}",
                )
            )
    return figures
