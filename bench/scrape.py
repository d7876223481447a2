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


def scraped(count: int, rounds: int) -> list[Figure]:
    """Scrape beside so many idle TCP sockets: after a pause, which has a look taken, and again at once."""
    listen = f"127.0.0.1:{free_port()}"
    looking, again = [], []
    with idle_connections(count), monitoring(metrics={"listen": listen}) as (monitor, _):
        _scrape_s(listen)
        cpu_before_s = cpu_s(monitor.pid)
        for _ in range(rounds):
            time.sleep(FRESH_S * 1.05)
            looking.append(_scrape_s(listen))
            again.append(_scrape_s(listen))
        share = (cpu_s(monitor.pid) - cpu_before_s) / (rounds * FRESH_S * 1.05)
    return [
        Figure(
            f"a scrape with a look at {count} idle TCP sockets",
            "s",
            tuple(looking),
            f"at most {GOAL_S:g} s",
            median(looking) <= GOAL_S,
            "without a look",
            tuple(again),
            f"{100 * share:.1f} % of a core, scraped every {FRESH_S:g} s",
        )
    ]


def measure(*, quick: bool) -> list[Figure]:
    counts, rounds = (COUNTS[:1], 1) if quick else (COUNTS, ROUNDS)
    return [figure for count in counts for figure in scraped(count, rounds)]
