# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a scrape of the metrics takes on a host with very many sockets, with a look at them and without."""

from __future__ import annotations

import time
import urllib.request

from bench.delivery import monitoring
from bench.figure import Figure, median
from bench.look import idle_connections
from bench.resident import cpu_s
from sockbpf.monitor.service_looks import FRESH_S
from tests.live.ports import free_port

COUNTS = (100, 20_000, 100_000)
ROUNDS = 7
GOAL_S = 0.1


def _scrape_s(listen: str) -> float:
    begun = time.monotonic()
    with urllib.request.urlopen(f"http://{listen}/metrics") as answer:
        assert b"sockbpf_services_unnamed " in answer.read(), "no look has worked"
    return time.monotonic() - begun


def scraped(count: int, rounds: int, pause_s: float) -> list[Figure]:
    """Scrape beside so many idle TCP sockets: after a pause, which has a look taken, and again at once."""
    listen = f"127.0.0.1:{free_port()}"
    looking, again = [], []
    with idle_connections(count), monitoring(metrics={"listen": listen}) as (monitor, _):
        _scrape_s(listen)
        used_s = 0.0
        for _ in range(rounds):
            time.sleep(pause_s)
            cpu_before_s = cpu_s(monitor.pid)
            looking.append(_scrape_s(listen))
            used_s += cpu_s(monitor.pid) - cpu_before_s
            again.append(_scrape_s(listen))
    return [
        Figure(
            f"a scrape with a look at {count} idle TCP sockets",
            "s",
            tuple(looking),
            f"at most {GOAL_S:g} s",
            median(looking) <= GOAL_S,
            "without a look",
            tuple(again),
            f"{1000 * used_s / rounds:.0f} ms of CPU",
        )
    ]


def measure(*, quick: bool) -> list[Figure]:
    if quick:
        return scraped(COUNTS[0], 1, 0.1)
    return [figure for count in COUNTS for figure in scraped(count, ROUNDS, FRESH_S * 1.05)]
