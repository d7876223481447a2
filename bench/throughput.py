# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is left of a host's throughput: real programs over loopback, with the monitor and without, in turns.

And with empty programs on the same hooks, the least that any program there can cost. Server and client are pinned,
each to a core of its own, in all three: else where they happen to run weighs more than what is measured. Beside the
rate stands the CPU time of both for the work, which other guests of a shared machine disturb less.
"""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.cost import PROGRAMS, counting, floor, nothing, run_ns, sockbpf
from bench.figure import Figure, median, percentile
from tests.live.waiting import until

ROUNDS = 31
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


@dataclass(frozen=True, slots=True)
class Done:
    """What was done in a second, and the CPU time, microseconds, that one unit of it took, of server and client."""

    rate: float
    cpu_us: float


def iperf3(*arguments: str) -> Done:
    """Send for a while; the rate is what was received, the unit of the CPU time a megabit that was sent."""
    cores = ["-A", f"{CLIENT},{SERVER}"]
    ran = subprocess.run(
        ["iperf3", "-c", "127.0.0.1", "-p", str(PORT), "-J", *cores, *arguments],
        capture_output=True,
        check=True,
    )
    said = json.loads(ran.stdout)
    assert "sum_received" in said["end"], said.get("error", "iperf3 says nothing of what was received")
    received, sent = (
        float(said["end"][name]["bits_per_second"]) / 1e6 for name in ("sum_received", "sum_sent")
    )
    used = said["end"]["cpu_utilization_percent"]
    return Done(received, (used["host_total"] + used["remote_total"]) / 100 * 1e6 / sent)


def wrk(seconds: int) -> Done:
    """Ask for a while; the unit is a request on a connection that is kept."""
    before_s = _cpu_s()
    ran = subprocess.run(
        ["taskset", "-c", str(CLIENT), "wrk", "-t1", "-c32", f"-d{seconds}", f"http://127.0.0.1:{PORT + 1}/"],
        capture_output=True,
        text=True,
        check=True,
    )
    found = re.search(r"Requests/sec: +([\d.]+)", ran.stdout)
    made = re.search(r"(\d+) requests in", ran.stdout)
    assert found, ran.stdout
    assert made, ran.stdout
    return Done(float(found[1]), (_cpu_s() - before_s) * 1e6 / int(made[1]))


def _cpu_s() -> float:
    """Return the CPU seconds of the workers of nginx, and of the processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    workers = subprocess.run(
        ["pgrep", "-x", "nginx"], capture_output=True, text=True, check=True
    ).stdout.split()
    ns = sum(int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) for pid in workers)
    return used.ru_utime + used.ru_stime + ns / 1e9


def works(seconds: int) -> dict[str, tuple[str, Callable[[], Done]]]:
    """Return the work by name, each with its unit."""
    time = ["-t", str(seconds)]
    return {
        "iperf3, one TCP stream": ("Mbit/s", lambda: iperf3(*time)),
        "iperf3, 64 TCP streams": ("Mbit/s", lambda: iperf3(*time, "-P", "64")),
        "iperf3, UDP, 1 kB": ("Mbit/s", lambda: iperf3(*time, "-u", "-b", "0", "-l", "1000")),
        "nginx and wrk, keep-alive": ("per second", lambda: wrk(seconds)),
    }


def runs_per_s(work: Callable[[], Done]) -> float:
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
            got: dict[str, list[Done]] = {"alone": [], "empty": [], "sockbpf": []}
            around = {"alone": nothing, "empty": floor, "sockbpf": sockbpf}
            for number in range(rounds):
                # In the other order each time: what drifts falls on all.
                for one in sorted(got, reverse=bool(number % 2)):
                    with around[one]():
                        got[one].append(work())
            hooked = f"hooks run {runs_per_s(work) / 1e6:.2g} million times a second"
            rates = {one: [done.rate for done in each] for one, each in got.items()}
            cpu_us = {one: [done.cpu_us for done in each] for one, each in got.items()}
            of_unit = "a request" if unit == "per second" else "a megabit"
            figures += [
                _figure(name, unit, rates, hooked, GOAL),
                _figure(f"{name}, CPU of {of_unit}", "us", cpu_us, "", 1 / GOAL),
            ]
    return figures


def _figure(name: str, unit: str, got: dict[str, list[float]], note: str, goal: float) -> Figure:
    """Return the figure; it is held against its goal by the median of the ratios to what was measured next to it."""
    ours, empty = (_ratios(got[one], got["alone"]) for one in ("sockbpf", "empty"))
    ratio, is_least = median(ours), goal < 1
    said = f"in pairs {ratio:.3f} ± {_error(ours):.3f}, of empty programs {median(empty):.3f} ± {_error(empty):.3f}"
    return Figure(
        name,
        unit,
        tuple(got["sockbpf"]),
        f"at {'least' if is_least else 'most'} {goal:.2f} of that",
        ratio >= goal if is_least else ratio <= goal,
        "without it",
        tuple(got["alone"]),
        "; ".join(filter(None, (said, note))),
    )


def _ratios(ours: list[float], alone: list[float]) -> list[float]:
    return [one / other for one, other in zip(ours, alone, strict=True)]


def _error(values: list[float]) -> float:
    """Return the standard error of the median: of normal values 1.2533 times that of the mean.

    Their deviation is estimated by that between the quartiles, which a few values far off do not move.
    """
    between = percentile(values, 0.75) - percentile(values, 0.25)
    return float(1.2533 * between / 1.349 / len(values) ** 0.5)
