# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The figures of simulated fleets: each scene by each protocol into each database, side by side."""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace
from functools import partial
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.databases import databases
from bench.figure import Figure, attempted, percentile
from bench.simulated.outcome import Outcome, outcome
from bench.simulated.protocols import BATCHES, GET, OTLP, Protocol
from bench.simulated.receivers import Receiver, collecting, store_on
from bench.simulated.scenes import (
    AWAY_S,
    BACK_S,
    BALANCED,
    FLAPPING_QUEUES,
    PARTITION,
    QUIET,
    RESTART,
    STORM,
    Scene,
)

HOSTS = 3000
BALANCED_HOSTS = 450
"""A store keeps so many connections."""
CUT_HOSTS = {BATCHES: (10_000, 10.0), GET: (1000, 60.0), OTLP: (1000, 60.0)}
"""Of a partition: the hosts, and how many times faster than time it is played."""
LADDER = (1000, 5000, 10_000, 20_000, 35_000, 60_000, 100_000)
"""Numbers of hosts of a fleet that is looked for."""
STEP_S = 5.0
BENT_S = 3.0
"""A fleet is too large if of 100 heartbeats one is answered later than this: ClickHouse takes a second at rest."""
MEMORY_MIB = 300.0

QUICK_HOSTS, QUICK_LADDER = 60, (100,)
QUICK_SECONDS = 0.5
"""Real ones of each scene."""


@dataclass(frozen=True)
class Pair:
    """A protocol and a receiver that speaks it."""

    protocol: Protocol
    to: str
    start: Callable[[], AbstractContextManager[Receiver]]
    """Starts a receiver that has nothing yet."""

    def __str__(self) -> str:
        return f"{self.protocol.name} to {self.to}"


QUICK = {"GET to SQLite": QUIET, "batches to PostgreSQL": RESTART, "batches to ClickHouse": FLAPPING_QUEUES}
QUICK |= {"OTLP to Rotel": STORM}
"""What is played quickly; the partition is in a test of its own."""


def pairs(stack: ExitStack) -> Iterator[Pair]:
    """Yield each protocol with each receiver that speaks it."""
    folder = Path(stack.enter_context(TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp"))))
    numbers = count()
    for name, made in stack.enter_context(databases(folder)).items():

        def start(name: str = name, made: Callable[[], str] = made) -> AbstractContextManager[Receiver]:
            return store_on(name, made(), folder / f"store{next(numbers)}")

        for protocol in (GET, BATCHES):
            yield Pair(protocol, name, start)
    yield Pair(OTLP, "Rotel", lambda: collecting(folder / f"collector{next(numbers)}"))


def play(scene: Scene, hosts: int, pair: Pair) -> list[Figure]:
    """Return what a scene shows, played against a receiver of its own."""
    with pair.start() as receiver:
        of = outcome(scene, hosts, pair.protocol, receiver)
    name = f"{scene.name}, {hosts} hosts, {pair}"
    figures = [_lag(name, of)]
    if scene.name == PARTITION.name:
        figures.append(_caught_up(name, of))
    return figures


def _lag(name: str, of: Outcome) -> Figure:
    tally = of.tally
    lags_s = tally.lags_s or tally.beat_lags_s or (math.inf,)  # nothing was answered at all
    told = tally.answered or 1
    room = "" if of.database_bytes is None else f", {of.database_bytes / told:.0f} in the database"
    note = (
        f"p50 {percentile(lags_s, 0.5):.2g}, most {max(lags_s):.2g}; {told / of.took_s:.0f} a second, "
        f"time runs {of.clock.factor:.3g}-fold; {len(tally.told)} alerts, {of.lost} lost, "
        f"{len(tally.owed)} still owed, {of.twice} twice, {tally.out_of_order} out of order, "
        f"{tally.retried} retried, {tally.connections} connections; bytes of an alert: "
        f"{tally.sent / told:.0f} sent, {tally.received / told:.0f} received{room}; "
        f"{of.memory_mib:.0f} MiB, {_loads(of)}"
    )
    return Figure(
        f"{name}: from an alert to its answer, p99",
        "s",
        (percentile(lags_s, 0.99),),
        goal="none lost, in order",
        met=of.is_right,
        note=note,
    )


def _loads(of: Outcome) -> str:
    """Return what each takes, and what is at its limit: the receiver, what is behind it, or the simulated hosts."""
    each_us = 1e6 / (of.tally.answered or 1)
    return (
        f"{100 * of.cpu_s / of.took_s:.0f} % of a core ({each_us * of.cpu_s:.0f} µs each), behind it "
        f"{100 * of.behind_cpu_s / of.took_s:.0f} % ({each_us * of.behind_cpu_s:.0f} µs), the simulation "
        f"{100 * of.own_cpu_s / of.took_s:.0f} % and {percentile(of.tally.late_s, 0.99):.2g} s late"
    )


def _caught_up(name: str, of: Outcome) -> Figure:
    """Return how long after the end of a partition the last alert is answered."""
    late_s = max(0.0, of.tally.caught_up_s(of.clock.ends_s - BACK_S))
    return Figure(
        f"{name}: all that was owed is there, after its end",
        "s",
        (late_s,),
        goal=f"at most {AWAY_S:g} s, none lost, in order, below {MEMORY_MIB:g} MiB",
        met=of.is_right and late_s <= AWAY_S and of.memory_mib < MEMORY_MIB,
        note=f"a host owed {of.tally.most_owed} at most; {of.tally.unsent_beats} heartbeats not sent meanwhile",
    )


def bend(pair: Pair, ladder: tuple[int, ...], seconds: float) -> list[Figure]:
    """Return how large a quiet fleet may be, in the time that it really takes: by halves of a ladder."""
    step = replace(QUIET, seconds=seconds, factor=1.0, drain_s=seconds)
    low, high = 0, len(ladder)
    steps: dict[int, str] = {}
    while low < high:
        middle = (low + high) // 2
        hosts = ladder[middle]
        with pair.start() as receiver:
            of = outcome(step, hosts, pair.protocol, receiver)
        lag_s = percentile(of.tally.beat_lags_s, 0.99) if of.tally.beat_lags_s else math.inf
        steps[hosts] = f"{of.tally.answered / of.took_s:.0f} a second, {1000 * lag_s:.0f} ms, {_loads(of)}"
        if lag_s <= BENT_S and of.is_right:
            low = middle + 1
        else:
            high = middle
    return [
        Figure(
            f"hosts with a heartbeat each 30 s, {pair}: the most for which 99 of 100 are answered in {BENT_S:g} s",
            "hosts",
            (ladder[low - 1] if low else 0,),
            note="; ".join(f"{hosts}: {steps[hosts]}" for hosts in sorted(steps)),
        )
    ]


def _measured(pair: Pair) -> list[Figure]:
    figures: list[Figure] = []
    cut_hosts, factor = CUT_HOSTS[pair.protocol]
    partition = replace(PARTITION, factor=factor)
    fleets = dict.fromkeys((QUIET, FLAPPING_QUEUES, STORM, RESTART), HOSTS)
    fleets |= {BALANCED: BALANCED_HOSTS, partition: cut_hosts}
    for scene, hosts in fleets.items():
        figures += attempted(f"{scene.name}, {hosts} hosts, {pair}", partial(play, scene, hosts, pair))
    return figures + attempted(
        f"hosts with a heartbeat each 30 s, {pair}", partial(bend, pair, LADDER, STEP_S)
    )


def _quickly(pair: Pair) -> list[Figure]:
    scene = QUICK.get(str(pair))
    if not scene:
        return []
    played = replace(scene, factor=scene.seconds / QUICK_SECONDS)
    figures = attempted(f"{scene.name}, {pair}", partial(play, played, QUICK_HOSTS, pair))
    return figures + (bend(pair, QUICK_LADDER, QUICK_SECONDS) if scene is QUIET else [])


def measure(*, quick: bool) -> list[Figure]:
    """Return the figures of all scenes, and where it bends; quick ones, of a few pairs, are not to be believed."""
    figures: list[Figure] = []
    with ExitStack() as stack:
        for pair in pairs(stack):
            figures += _quickly(pair) if quick else _measured(pair)
    return sorted(figures, key=_scene_of)


def _scene_of(figure: Figure) -> str:
    return figure.name.partition(",")[0]
