# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How soon the store says what is wrong now, and what it knows of its hosts, among a million alerts."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import requests
from sqlalchemy.engine import Engine

from bench.databases import copy_tables
from bench.figure import Figure, median, percentile
from bench.store import MILLION, filled, serving
from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.entry import Entry, alert_entry
from sockbpf.store.data.rows import write
from sockbpf.store.data.schema import ENTRY, EPISODE, HOST, PAIR
from tests.store.servers import mysql, new_database, postgresql
from tests.store.serving import Store, engine_url, told

OPEN = 1000
"""Hosts that tell heartbeats, each with one queue that is over."""
ASKED = 300
GOAL_MS = 50.0
OF_NOW = (ENTRY, PAIR, EPISODE, HOST)
PATHS = ("/now?limit=1000", "/now", "/hosts?limit=1000", "/hosts")


def _present(now_s: float) -> Iterator[Entry]:
    about = {
        "version": "1",
        "kernel": "6.1.0",
        "mode": "ebpf",
        "unseen": "",
        "repeat": "60",
        "heartbeat": "60",
    }
    for number in range(OPEN):
        at = {
            "host": f"host{number}",
            "run": f"{number:016x}",
            "timestamp": f"{now_s:.6f}",
            "seq": int(now_s),
        }
        whose = {"unit": f"service{number % 40}.service", "cause": "reader-slow"}
        yield alert_entry(told(number, **at, **whose, event="ongoing"))
        counters = {"events": number + 1, "sweeps": 7, "alerts": 3, "delivered": 3, "open_episodes": 1}
        beat = {**at, "event": "heartbeat", **about, **counters}
        yield alert_entry({name: str(value) for name, value in beat.items()})


def add_present(engine: Engine) -> None:
    """Have the hosts of `_present` tell what is so now."""
    with engine.begin() as connection:
        write(connection, list(_present(time.time())))


def _asked(store: Store, engine: Engine, name: str, asked: int) -> list[Figure]:
    """Measure through HTTP, with nothing new from question to question, and with an alert before each of them."""
    session, figures = requests.Session(), []
    for path, is_new in product(PATHS, (False, True)):
        add_present(engine)  # or what was told would be too old
        took_ms = []
        for number in range(asked):
            if is_new:
                at = {"host": f"host{number}", "timestamp": f"{time.time():.6f}", "seq": time.time_ns()}
                alert = told(number, **at, event="ongoing", run=f"{number:016x}")
                assert session.get(f"{store.url}/alert", params=alert, timeout=30).json() == {"new": True}
            begun_s = time.perf_counter()
            answer = session.get(store.url + path, timeout=30)
            took_ms.append((time.perf_counter() - begun_s) * 1e3)
            assert answer.status_code == 200, answer.text
        found = answer.json()
        assert (found["episodes"]["over"] if "now" in path else found["counts"]["heard"]) >= OPEN, path
        when = "each after an alert" if is_new else "nothing new"
        figures.append(
            Figure(
                f"GET {path}, {name}, {OPEN} open of {OPEN} hosts, {when}, the 99th of 100",
                "ms",
                (percentile(took_ms, 0.99),),
                f"at most {GOAL_MS:g} ms",
                percentile(took_ms, 0.99) <= GOAL_MS,
                note=f"p50 {median(took_ms):.1f}, the slowest of {asked} {max(took_ms):.1f}",
            )
        )
    return figures


def measure(*, quick: bool) -> list[Figure]:
    """Return the figures; quick ones are not to be believed."""
    count, asked = (5000, 10) if quick else (MILLION, ASKED)
    figures = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp"))))
        shutil.copy(filled(count), folder / "alerts.sqlite")
        urls = {"SQLite": f"sqlite:///{folder}/alerts.sqlite"}
        for name, running in (("PostgreSQL", postgresql), ("MariaDB", mysql)):
            urls[name] = new_database(stack.enter_context(running()))
            copy_tables(filled(count), urls[name], OF_NOW)
        for name, url in urls.items():
            engine = open_engine(engine_url(url), connections=1)
            with serving(url) as store:
                figures += _asked(store, engine, f"{count} alerts in {name}", asked)
            engine.dispose()
    return figures
