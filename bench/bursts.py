# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is caught of bursts that nobody waits for, by the monitor and by `ss` in a loop: the same sockets, one run."""

from __future__ import annotations

import heapq
import random
import re
import time
from collections import defaultdict
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import dataclass
from tempfile import TemporaryDirectory

from bench.delivery import DATAGRAM, THRESHOLD, monitoring, reader
from bench.figure import Figure, percentile
from bench.polling import Loop
from tests.live.stamping import Stamps

BURSTS = 10_007
SOCKETS = 61
LASTS_MS = (0.1, 1, 10, 100)
SPREAD_S = 60.0
"""The bursts of a run are spread over so many seconds."""
LOOPS_S = (1.0, 0.1)
SEED = 1873
LOOKS, BETWEEN = 31, 5
"""So often as many queues go over and stay so until everybody knows."""
GOAL_MS = 5.0
FASTER_GOAL = 100


@dataclass(frozen=True)
class Burst:
    """A queue that was over: Unix times between which it was for certain."""

    port: int
    lasts_ms: float
    begun: float
    ended: float


def burst_all(stack: ExitStack, number: int, spread_s: float) -> list[Burst]:
    """Have bursts come at random times on some sockets; return when each was."""
    chance = random.Random(SEED)
    sockets = [reader(stack) for _ in range(SOCKETS)]
    writer = reader(stack)
    begin = time.monotonic()
    free_s = [begin] * SOCKETS
    plan: list[tuple[float, int, float]] = []
    for _ in range(number):
        index, lasts_ms = chance.randrange(SOCKETS), chance.choice(LASTS_MS)
        at_s = max(free_s[index] + 0.001, begin + chance.uniform(0, spread_s))
        free_s[index] = at_s + lasts_ms / 1e3
        heapq.heappush(plan, (at_s, index, lasts_ms))
    over: dict[int, tuple[float, float]] = {}
    done: list[Burst] = []
    while plan:
        at_s, index, lasts_ms = heapq.heappop(plan)
        while (left_s := at_s - time.monotonic()) > 0:
            if left_s > 0.0002:
                time.sleep(left_s - 0.0002)
        sock = sockets[index]
        if index in over:
            begun, was_ms = over.pop(index)
            ended = time.time()
            sock.recv(DATAGRAM)
            done.append(Burst(sock.getsockname()[1], was_ms, begun, ended))
            continue
        # One that is planned while another of the socket still stands waits for its end.
        writer.sendto(bytes(DATAGRAM), sock.getsockname())
        over[index] = (time.time(), lasts_ms)
        heapq.heappush(plan, (time.monotonic() + lasts_ms / 1e3, index, lasts_ms))
    return done


def caught_by(loop: Loop, bursts: list[Burst]) -> dict[float, int]:
    """Return how many bursts of each length a loop has looked into while they stood."""
    looks: dict[int, list[tuple[float, float]]] = defaultdict(list)
    for begun, ended, port in loop.seen:
        looks[port].append((begun, ended))
    caught: dict[float, int] = dict.fromkeys(LASTS_MS, 0)
    for burst in bursts:
        hit = any(burst.begun <= ended and begun <= burst.ended for begun, ended in looks[burst.port])
        caught[burst.lasts_ms] += hit
    return caught


def bursts(number: int, spread_s: float) -> list[Figure]:
    with monitoring(pinned=False, events=["exceeded"]) as (monitor, stamps), ExitStack() as stack:
        loops = [Loop(interval_s, THRESHOLD) for interval_s in LOOPS_S]
        for loop in loops:
            loop.start()
        done = burst_all(stack, number, spread_s)
        for loop in loops:
            loop.stop()
        ports = {str(burst.port) for burst in done}
        ours = 0
        while ours < number:  # other sockets of the host may cross too
            ours += stamps.next(event="exceeded", protocol="udp")[1]["local_port"] in ports
        assert monitor.stop() == 0
        told = re.findall(r"event=exceeded protocol=udp local_ip=\S+ local_port=(\d+) ", monitor.log())
        false = sum(port in ports for port in told) - number
    figures = []
    for loop in loops:
        caught = caught_by(loop, done)
        by_length = ", ".join(f"{count} of {lasts:g} ms" for lasts, count in caught.items())
        figures.append(
            Figure(
                f"bursts caught of {number}",
                "",
                (float(ours),),
                "all, none besides",
                ours == number and false == 0,
                f"ss each {loop.interval_s:g} s",
                (float(sum(caught.values())),),
                f"{false} besides; ss: {by_length}",
            )
        )
    return figures


def known(stamps: Stamps, looks: int, interval_s: float, *loops: str) -> dict[str, list[float]]:
    """Return how late, seconds, we and the loop, if there is one, were of crossings anywhere between its looks."""
    chance = random.Random(SEED)
    late: dict[str, list[float]] = {who: [] for who in ("ours", *loops)}
    with ExitStack() as stack:
        for _ in range(looks):
            moments = sorted(chance.uniform(0, interval_s) for _ in range(BETWEEN))
            for who, late_s in _cross(stack, stamps, late.keys(), moments):
                late[who].append(late_s)
    return late


def time_to_know(looks: int) -> list[Figure]:
    """Measure from the crossing to the request, with queues that stay over until everybody knows.

    Beside the loops, which take their part of the machine, and alone, with the journal on disk and in memory.
    """
    ours, loops, alone = [], [], []
    with monitoring(pinned=False, events=["exceeded"]) as (_, stamps):
        for interval_s in LOOPS_S:
            loop = Loop(interval_s, THRESHOLD, stamps.url)
            loop.start()
            late = known(stamps, looks, interval_s, "loop")
            loop.stop()
            ours += late["ours"]
            loops.append(late["loop"])
        alone.append(known(stamps, looks, LOOPS_S[-1])["ours"])
    with TemporaryDirectory(dir="/dev/shm") as folder:
        journal = {"path": f"{folder}/journal"}
        with monitoring(pinned=False, events=["exceeded"], journal=journal) as (_, stamps):
            alone.append(known(stamps, looks, LOOPS_S[-1])["ours"])
    each_second, each_tenth = loops
    on_disk, in_memory = (percentile(late_s, 0.99) * 1e3 for late_s in alone)
    p99_ms = percentile(ours, 0.99) * 1e3
    faster = percentile(each_second, 0.5) / percentile(ours, 0.5)
    rival = "ss each 1 s, and curl"
    return [
        Figure(
            "crossing to request, p50",
            "ms",
            (percentile(ours, 0.5) * 1e3,),
            f"at least {FASTER_GOAL} times sooner",
            faster >= FASTER_GOAL,
            rival,
            (percentile(each_second, 0.5) * 1e3,),
            f"{faster:.0f} times sooner; ss each 0.1 s: {percentile(each_tenth, 0.5) * 1e3:.0f}",
        ),
        Figure(
            "crossing to request, p99",
            "ms",
            (p99_ms,),
            f"at most {GOAL_MS:g} ms",
            p99_ms <= GOAL_MS,
            rival,
            (percentile(each_second, 0.99) * 1e3,),
            f"max {max(ours) * 1e3:.1f}; ss each 0.1 s: {percentile(each_tenth, 0.99) * 1e3:.0f}; "
            f"ours alone {on_disk:.1f}, and with the journal in memory {in_memory:.1f}",
        ),
    ]


def _cross(
    stack: ExitStack, stamps: Stamps, everybody: Collection[str], moments_s: list[float]
) -> list[tuple[str, float]]:
    """Have queues go over at these moments from now until everybody knows of all; return who knew how late."""
    writer, sockets = reader(stack), [reader(stack) for _ in moments_s]
    begun: dict[str, float] = {}
    from_s = time.monotonic()
    for sock, moment_s in zip(sockets, moments_s, strict=True):
        time.sleep(max(0.0, from_s + moment_s - time.monotonic()))
        begun[str(sock.getsockname()[1])] = time.time()
        writer.sendto(bytes(DATAGRAM), sock.getsockname())
    late = []
    waiting = {(who, port) for who in everybody for port in begun}
    while waiting:
        arrived, told = stamps.next(event="exceeded")
        port, who = told["local_port"], "loop" if told.get("mode") == "loop" else "ours"
        if (who, port) in waiting:
            late.append((who, arrived - begun[port]))
            waiting.remove((who, port))
    for sock in sockets:  # they stay open: another would get the port of one that was closed
        sock.recv(DATAGRAM)
    return late


def measure(*, quick: bool) -> list[Figure]:
    if quick:
        return [*bursts(101, 1.0), *time_to_know(2)]
    return [*bursts(BURSTS, SPREAD_S), *time_to_know(LOOKS)]
