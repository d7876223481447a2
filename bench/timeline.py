# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How soon the store says what was in 15 minutes, 17 hours, 30 days, among a million alerts, by database."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

import requests

from bench.databases import copy_tables
from bench.figure import Figure, median, percentile
from bench.store import FIRST_S, MILLION, SPAN_S, filled, serving
from sockbpf.store.data.schema import ENTRY, EPISODE
from sockbpf.store.data.timeline_tables import SERIES, STATE, TIMELINE
from tests.store.servers import mysql, new_database, postgresql
from tests.store.serving import Store

ASKED = 100
GOAL_MS = 50.0
QUARTER_S, MOST_STEPS_S, MONTH_S = 900, 17 * 3600, 30 * 86_400
OF_TIMELINE = (ENTRY, EPISODE, SERIES, TIMELINE, STATE)


def asking(store: Store, name: str, asked: int, chance: random.Random) -> list[Figure]:
    """Measure through HTTP; no two questions are alike."""
    session = requests.Session()

    def within(seconds: float) -> str:
        begin_s = FIRST_S + chance.uniform(0, SPAN_S - seconds)
        return f"from={begin_s:.3f}&to={begin_s + seconds:.3f}"

    def quarter() -> str:
        return within(QUARTER_S)

    def month() -> str:
        begin_s = FIRST_S - chance.uniform(0, 600)
        return f"from={begin_s:.3f}&to={begin_s + MONTH_S:.3f}"

    def of_one() -> str:
        which = chance.choice((f"host=web{chance.randrange(20)}", "service=nginx", "type=SEND"))
        return f"{chance.choice((quarter, month))()}&{which}"

    def by_port() -> str:
        return f"{chance.choice((quarter, month))()}&port={chance.choice((443, 5432))}"

    questions: list[tuple[str, Callable[[], str], bool]] = [
        ("15 minutes", quarter, True),
        ("17 hours: what has most steps", lambda: within(MOST_STEPS_S), True),
        ("30 days", month, True),
        ("either, of a host, a service or a type", of_one, False),
        ("either, by a port: the newest 2000 are read", by_port, False),
    ]
    figures = []
    for what, question, is_goal in questions:
        took_ms = []
        for _ in range(asked):
            target = f"{store.url}/timeline?{question()}"
            begun = time.perf_counter()
            answer = session.get(target, timeout=30)
            took_ms.append((time.perf_counter() - begun) * 1e3)
            assert answer.status_code == 200, answer.text
        figures.append(
            Figure(
                f"the timeline of {what}, {name}, the slowest of {asked}",
                "ms",
                (max(took_ms),),
                f"at most {GOAL_MS:g} ms" if is_goal else "",
                max(took_ms) <= GOAL_MS if is_goal else None,
                note=f"p50 {median(took_ms):.1f}, p99 {percentile(took_ms, 0.99):.1f}",
            )
        )
    return figures


def measure(*, quick: bool) -> list[Figure]:
    """Return the figures of the timeline; quick ones are not to be believed."""
    count, asked = (5000, 7) if quick else (MILLION, ASKED)
    with serving(f"sqlite:///{filled(count).absolute()}") as store:
        figures = asking(store, f"{count} alerts in SQLite", asked, random.Random(count))
    for name, running in (("PostgreSQL", postgresql), ("MariaDB", mysql)):
        with running() as server:
            database = new_database(server)
            copy_tables(filled(count), database, OF_TIMELINE)
            with serving(database) as store:
                figures += asking(store, f"{count} alerts in {name}", asked, random.Random(count))
    return figures
