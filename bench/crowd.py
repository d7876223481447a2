# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How soon a store has heard all hosts of a fleet that connect within the same second, each with one alert."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from contextlib import ExitStack
from operator import add
from pathlib import Path
from tempfile import TemporaryDirectory

import requests

from bench.figure import Figure, percentile
from bench.simulated.host import Telling
from bench.simulated.outcome import outcome
from bench.simulated.protocols import GET
from bench.simulated.receivers import store_on
from bench.simulated.scenes import Monitor, Scene, alerts
from bench.told import episode
from sockbpf.record.alert import CLEARED

HOSTS, QUICK_HOSTS = (1000, 5000, 10_000), (60,)
AT_ONCE_S = 1.0
BEYOND_S, A_SECOND = 4.0, 1500
"""All are to be in by so long after what so many requests a second, each on a new connection, take."""
COUNTED = ("shed", "turned_away")


def _one(of: Monitor, chance: random.Random) -> Iterator[Telling]:
    """Yield the end of an episode alone."""
    for telling in alerts(episode(of.host, chance), of.begins_s + chance.random() * AT_ONCE_S, 0.0):
        if telling.make(1)["event"] == CLEARED:
            yield telling


CROWD = Scene("all at once", AT_ONCE_S, 1.0, _one)


def _counted(url: str) -> dict[str, int]:
    lines = requests.get(f"{url}/metrics", timeout=30).text.splitlines()
    return {
        name: int(float(line.split()[1]))
        for line in lines
        for name in COUNTED
        if line.startswith(f"sockbpf_store_{name}_total ")
    }


def measure(*, quick: bool) -> list[Figure]:
    """Return the figures; quick ones are not to be believed."""
    figures = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp"))))
        for hosts in QUICK_HOSTS if quick else HOSTS:
            with store_on(
                "SQLite", f"sqlite:///{folder}/{hosts}/alerts.sqlite", folder / str(hosts)
            ) as store:
                of = outcome(CROWD, hosts, GET, store)
                counted = _counted(store.url)
            tally = of.tally
            all_in_s = max(map(add, tally.made_s, tally.lags_s)) - of.clock.begins_s
            goal_s = hosts / A_SECOND + BEYOND_S
            note = (
                f"p50 {percentile(tally.lags_s, 0.5):.2g} s; {tally.answered / all_in_s:.0f} a second; "
                f"{', '.join(f'{number} {name}' for name, number in counted.items())}; {of.lost} lost, "
                f"{tally.retried} retried, {tally.connections} connections, {of.memory_mib:.0f} MiB, "
                f"{of.cpu_s:.1f} s of CPU, the simulation {of.own_cpu_s:.1f} s"
            )
            figures.append(
                Figure(
                    f"{CROWD.name}, {hosts} hosts: until the last alert is answered",
                    "s",
                    (all_in_s,),
                    f"at most {goal_s:.2g} s, none lost",
                    of.is_right and all_in_s <= goal_s,
                    note=note,
                )
            )
    return figures
