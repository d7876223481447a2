# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The figures of simulated fleets: each scene by each protocol into each database, side by side."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack
from dataclasses import replace
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.figure import Figure, percentile
from bench.simulated.outcome import Outcome, outcome
from bench.simulated.protocols import BATCHES, GET, OTLP, Protocol
from bench.simulated.receivers import Receiver, collecting, store_on
from bench.simulated.scenes import AWAY_S, BACK_S, PARTITION, QUIET, SCENES, Scene
from tests.store.servers import new_database, postgresql

HOSTS, CUT_HOSTS = 5000, 10_000
QUICK_HOSTS = 60
QUICK_SECONDS = 0.7
"""Real ones of each scene."""
LADDER = (12_500, 25_000, 50_000, 75_000, 100_000, 150_000, 200_000)
QUICK_LADDER = (100,)
STEP_S, QUICK_STEP_S = 8.0, 0.5
BENT_S = 1.0
"""A fleet is too large if of 100 heartbeats one is answered later than this."""
MEMORY_MIB = 300.0

Start = Callable[[], AbstractContextManager[Receiver]]
"""Starts a receiver that has nothing yet."""


def pairs(stack: ExitStack) -> Iterator[tuple[Protocol, str, Start]]:
    """Yield each protocol with each receiver that speaks it, its name and how it is started."""
    folder = Path(stack.enter_context(TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp"))))
    server = stack.enter_context(postgresql())
    numbers = count()

    def sqlite() -> AbstractContextManager[Receiver]:
        number = next(numbers)
        return store_on("SQLite", f"sqlite:///{folder}/{number}/alerts.sqlite", folder / str(number))

    def on_postgresql() -> AbstractContextManager[Receiver]:
        return store_on("PostgreSQL", new_database(server), folder / str(next(numbers)))

    for protocol in (GET, BATCHES):
        yield protocol, "SQLite", sqlite
        yield protocol, "PostgreSQL", on_postgresql
    yield OTLP, "Rotel", lambda: collecting(folder / str(next(numbers)))


def figures_of(scene: Scene, hosts: int, protocol: Protocol, to: str, of: Outcome) -> Iterator[Figure]:
    """Yield what a scene shows."""
    tally = of.tally
    lags_s = tally.lags_s or tally.beat_lags_s
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
    yield Figure(
        f"{scene.name}, {hosts} hosts, {protocol.name} to {to}: from an alert to its answer, p99",
        "s",
        (percentile(lags_s, 0.99),),
        goal="none lost, in order",
        met=of.is_right,
        note=note,
    )


def _loads(of: Outcome) -> str:
    """Return what is at its limit: the receiver, or what simulates the hosts."""
    return (
        f"{100 * of.cpu_s / of.took_s:.0f} % of a core, the simulation {100 * of.own_cpu_s / of.took_s:.0f} % "
        f"and {percentile(of.tally.late_s, 0.99):.2g} s late"
    )


def partition(hosts: int, protocol: Protocol, to: str, of: Outcome) -> Iterator[Figure]:
    """Yield what a partition shows: how long after its end the last alert is answered."""
    late_s = max(0.0, of.tally.caught_up_s(of.clock.ends_s - BACK_S))
    within = of.is_right and late_s <= AWAY_S and of.memory_mib < MEMORY_MIB
    yield Figure(
        f"{PARTITION.name}, {hosts} hosts, {protocol.name} to {to}: all that was owed is there, after its end",
        "s",
        (late_s,),
        goal=f"at most {AWAY_S:g} s, none lost, in order, below {MEMORY_MIB:g} MiB",
        met=within,
        note=f"a host owed {of.tally.most_owed} at most; {of.tally.unsent_beats} heartbeats not sent meanwhile",
    )


def bend(protocol: Protocol, to: str, start: Start, ladder: tuple[int, ...], seconds: float) -> Figure:
    """Return how large a quiet fleet may be, in the time that it really takes."""
    held, steps = 0, []
    for hosts in ladder:
        with start() as receiver:
            of = outcome(replace(QUIET, seconds=seconds, factor=1.0), hosts, protocol, receiver)
        lag_s = percentile(of.tally.beat_lags_s, 0.99)
        steps.append(
            f"{hosts}: {of.tally.answered / of.took_s:.0f} a second, {1000 * lag_s:.0f} ms, {_loads(of)}"
        )
        if lag_s > BENT_S or not of.is_right:
            break
        held = hosts
    return Figure(
        f"hosts with a heartbeat each 30 s, {protocol.name} to {to}: the most for which 99 of 100 are answered in "
        f"{BENT_S:g} s",
        "hosts",
        (held,),
        note="; ".join(steps),
    )


def measure(*, quick: bool) -> list[Figure]:
    """Return the figures of all scenes, of a partition, and where it bends.

    Quick ones are not to be believed, and each pair of protocol and receiver plays one scene only.
    """
    figures: list[Figure] = []
    scenes = (*SCENES, PARTITION)
    with ExitStack() as stack:
        for place, (protocol, to, start) in enumerate(pairs(stack)):
            for scene in (scenes[place % len(scenes)],) if quick else scenes:
                hosts = QUICK_HOSTS if quick else CUT_HOSTS if scene is PARTITION else HOSTS
                played = replace(scene, factor=scene.seconds / QUICK_SECONDS) if quick else scene
                with start() as receiver:
                    of = outcome(played, hosts, protocol, receiver)
                figures += figures_of(scene, hosts, protocol, to, of)
                if scene is PARTITION:
                    figures += partition(hosts, protocol, to, of)
            if not quick:
                figures.append(bend(protocol, to, start, LADDER, STEP_S))
            elif not place:
                figures.append(bend(protocol, to, start, QUICK_LADDER, QUICK_STEP_S))
    return sorted(figures, key=_scene_of)


def _scene_of(figure: Figure) -> str:
    return figure.name.partition(",")[0]
