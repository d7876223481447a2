# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a look at very many sockets costs, by BPF iterators, by sock_diag and by `ss`; and what polling costs."""

from __future__ import annotations

import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager

from bench.cost import HIGH
from bench.delivery import monitoring
from bench.figure import Figure, median
from bench.resident import HELD_BY_ONE, idle_sockets
from bench.resident import cpu_s as process_cpu_s
from sockbpf.counters import Counters
from sockbpf.kernel.look.choice import look_of
from sockbpf.kernel.look.netns import inside
from sockbpf.kernel.look.row import Look, Terms, Which
from sockbpf.kernel.look.sweep import Sweeper, Wanted
from sockbpf.record.event import Protocol
from tests.live.network import namespace
from tests.live.sockets import tcp_pair
from tests.live.waiting import until

COUNTS = (1000, 10_000, 100_000)
ROUNDS = 11
LOOK_GOAL_MS = 50
"""Of CPU, at the greatest count."""
NAMESPACES = 100
POLLED = 19_000
POLLED_S = 20.0
WINDOWS = 3
POLL_GOAL_PERCENT = 1.5
STALLS_S = 60.0
STALL_GOAL_PERCENT = 1
OVER = Terms(Which.OVER_ONLY, send=1 << 20, recv=1 << 20)
HOLD_TCP = """
import socket, struct, sys
listener = socket.create_server((f"127.{sys.argv[2]}.0.1", 20055), backlog=64)
held = [listener]
for _ in range(int(sys.argv[1]) // 2):
    held += [socket.create_connection(listener.getsockname()), listener.accept()[0]]
for sock in held:  # reset as they are closed: in TIME_WAIT they would be looked at for another minute
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
print("held", flush=True)
sys.stdin.read()
"""


@contextmanager
def idle_connections(count: int) -> Iterator[None]:
    """Have that many connected TCP sockets open, both ends of half as many connections."""
    with ExitStack() as stack:
        for number in range(-(-count // HELD_BY_ONE)):
            mine = str(min(HELD_BY_ONE, count - number * HELD_BY_ONE))
            command = [sys.executable, "-c", HOLD_TCP, mine, str(number + 2)]
            process = stack.enter_context(
                subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            )
            stack.callback(process.kill)
            assert process.stdout
            assert process.stdout.readline() == b"held\n"
        yield


def _children_s() -> float:
    """Return the CPU seconds of the processes that this one has waited for."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _ss() -> None:
    subprocess.run(["ss", "-tuan"], check=True, stdout=subprocess.DEVNULL)


def _took(
    what: Callable[[], object], cpu_s: Callable[[], float], rounds: int
) -> tuple[list[float], list[float]]:
    """Return milliseconds of CPU and of the clock of each round."""
    cpu, wall = [], []
    for _ in range(rounds):
        cpu_before, begun = cpu_s(), time.monotonic()
        what()
        cpu.append((cpu_s() - cpu_before) * 1e3)
        wall.append((time.monotonic() - begun) * 1e3)
    return cpu, wall


def looks(counts: tuple[int, ...], rounds: int) -> list[Figure]:
    """Look for what is over among so many idle sockets, TCP and UDP both each time, as `ss -tuan` does."""
    figures = []
    with ExitStack() as stack:
        ways = []
        for wanted in ("auto", "sock_diag"):
            way, _ = look_of(wanted, "auto", Counters())
            ways.append(stack.enter_context(closing(way)))
        for kind, idle in (("UDP", idle_sockets), ("TCP", idle_connections)):
            for count in counts:
                with idle(count):
                    figures += _figures(f"a look at {count} {kind} sockets", ways, rounds, count)
    return figures


def _figures(name: str, ways: list[Look], rounds: int, count: int) -> list[Figure]:
    ss_cpu, ss_wall = _took(_ss, _children_s, max(1, rounds // 3))
    figures = []
    for way in ways:

        def look(way: Look = way) -> None:
            for protocol in Protocol:
                way.rows(protocol, OVER)

        cpu, wall = _took(look, time.thread_time, rounds)
        has_goal = way.name != "sock_diag" and count == COUNTS[-1]
        figures.append(
            Figure(
                f"{name}, {way.name}, CPU",
                "ms",
                tuple(cpu),
                f"at most {LOOK_GOAL_MS} ms" if has_goal else "",
                median(cpu) <= LOOK_GOAL_MS if has_goal else None,
                "ss -tuan",
                tuple(ss_cpu),
                f"by the clock {median(wall):.1f}, ss {median(ss_wall):.1f}",
            )
        )
    return figures


def namespaces(count: int, rounds: int) -> list[Figure]:
    """Sweep so many network namespaces without a socket, and with two idle ones of TCP in each."""
    figures = []
    way, _ = look_of("auto", "auto", Counters())
    with ExitStack() as stack:
        sweeper = Sweeper(Counters(), stack.enter_context(closing(way)))
        places = [f"/run/netns/{stack.enter_context(namespace())}" for _ in range(count)]
        for what, have in (("no socket", 0), ("one idle connection", count)):
            for place in places[:have]:
                with inside(place):
                    tcp_pair(stack)
            cpu, wall = _took(lambda: sweeper.sweep(Wanted(None, OVER)), time.thread_time, rounds)
            figures.append(
                Figure(
                    f"a sweep of {count} network namespaces with {what} in each, {way.name}, CPU",
                    "ms",
                    tuple(cpu),
                    note=f"by the clock {median(wall):.1f}",
                )
            )
    return figures


def polling(count: int, watched_s: float) -> list[Figure]:
    """Measure the monitor without hooks, a look each second at so many idle UDP sockets."""
    shares: dict[str, tuple[float, ...]] = {}
    taken: dict[str, float] = {}
    with idle_sockets(count):
        for wanted in ("auto", "sock_diag"):
            kernel = {"hooks": "none", "look": wanted}
            with monitoring(kernel=kernel, sweep={"poll": "1s"}, thresholds=HIGH["thresholds"]) as (
                monitor,
                _,
            ):
                begun = time.monotonic()
                shares[wanted] = tuple(_share(monitor.pid, watched_s) for _ in range(WINDOWS))
                watched = time.monotonic() - begun
                assert monitor.stop() == 0
                taken[wanted] = 60 * (monitor.counters()["sweeps"] - 1) / watched
    return [
        Figure(
            f"mode=poll at 1 s, {count} idle UDP sockets",
            "% of a core",
            shares["auto"],
            f"at most {POLL_GOAL_PERCENT} %",
            median(shares["auto"]) <= POLL_GOAL_PERCENT,
            "by sock_diag",
            shares["sock_diag"],
            f"{taken['auto']:.0f} looks a minute, {taken['sock_diag']:.0f} by sock_diag",
        )
    ]


def stalls(count: int, watched_s: float) -> list[Figure]:
    """Measure what it takes to find stalled queues among so many idle sockets, the hooks included."""
    shares: dict[str, tuple[float, ...]] = {}
    with idle_connections(count):
        for after in ("15s", "0s"):
            with monitoring(stalled={"after": after}, thresholds=HIGH["thresholds"]) as (monitor, _):
                shares[after] = tuple(_share(monitor.pid, watched_s) for _ in range(WINDOWS))
    has_goal, idle = count == COUNTS[-1], median(shares["0s"])
    return [
        Figure(
            f"stalls found after 15 s, {count} idle TCP sockets",
            "% of a core",
            tuple(share - idle for share in shares["15s"]),
            f"at most {STALL_GOAL_PERCENT} %" if has_goal else "",
            median(shares["15s"]) - idle <= STALL_GOAL_PERCENT if has_goal else None,
            note=f"a look each 5 s; the monitor takes {median(shares['15s']):.2f} in all, {idle:.2f} without",
        )
    ]


def _share(pid: int, watched_s: float) -> float:
    """Return the percent of a core that a process takes meanwhile."""
    before_s, begun = process_cpu_s(pid), time.monotonic()
    until(lambda: time.monotonic() >= begun + watched_s, "the time", watched_s + 60)
    return 100 * (process_cpu_s(pid) - before_s) / (time.monotonic() - begun)


def measure(*, quick: bool) -> list[Figure]:
    if quick:
        return [*looks((100,), 1), *namespaces(3, 1), *polling(100, 2.0), *stalls(100, 2.0)]
    return [
        *looks(COUNTS, ROUNDS),
        *namespaces(NAMESPACES, ROUNDS),
        *polling(POLLED, POLLED_S),
        *stalls(COUNTS[-1], STALLS_S),
    ]
