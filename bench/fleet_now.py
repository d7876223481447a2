# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How soon a store of a hundred thousand hosts says what is wrong now and how they are, and its page shows it."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack
from functools import partial
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import requests
from playwright.sync_api import expect, sync_playwright
from sqlalchemy.engine import Engine

from bench.databases import copy_tables
from bench.figure import Figure, attempted, median, percentile
from bench.now import OF_NOW
from bench.page import PAINTED, opened
from bench.store import CHROMIUM, serving
from sockbpf.store.data.engine import is_clickhouse, open_engine
from sockbpf.store.data.entry import Entry, alert_entry
from sockbpf.store.data.hosts import tell_hosts
from sockbpf.store.data.migration import migrate
from sockbpf.store.data.rows import write
from tests.store.browsing import FLAGS
from tests.store.servers import clickhouse, new_database, postgresql
from tests.store.serving import Store, engine_url, told
from tests.store.talking import memory_mib

HOSTS, OPEN, WAITING, SILENT, BLIND = 100_000, 10_000, 4000, 500, 2000
QUICK_HOSTS, QUICK_OPEN, QUICK_WAITING = 600, 100, 40
AT_ONCE = 2000
COLD, ASKED, PAINTS = 3, 20, 5
NOW_GOAL_MS, PAINT_GOAL_MS = 300.0, 1000.0
NOW = "/now?limit=200&open=true"
"""As the page asks."""
HOSTS_PATHS = ("/hosts?limit=200", "/hosts?limit=200&label=dc=dc3&state=heard&text=host07")


def _heartbeats(hosts: range, now_s: float, **about: str) -> Iterator[Entry]:
    """Yield a heartbeat of each host; what they tell lasts for the measurement."""
    usual = {
        "version": "1",
        "kernel": "6.1.0",
        "mode": "ebpf",
        "unseen": "",
        "repeat": "7200",
        "heartbeat": "7200",
    }
    counters = {"events": "12", "sweeps": "7", "alerts": "3", "delivered": "3", "open_episodes": "1"}
    for number in hosts:
        at = {"host": f"host{number:06}", "run": f"{number:016x}", "timestamp": f"{now_s:.6f}", "seq": "7"}
        labels = f"dc=dc{number % 5};rack=r{number // 40};role=role{number % 7}"
        yield alert_entry({"event": "heartbeat", "labels": labels, **at, **usual, **counters, **about})


def _open(opened_: int, waiting: int, now_s: float) -> Iterator[Entry]:
    """Yield open episodes, each of another host: the first wait for one service, the others are their own."""
    for number in range(opened_):
        at = {"host": f"host{number:06}", "run": f"{number:016x}", "timestamp": f"{now_s:.6f}", "seq": "8"}
        whose = {
            "unit": f"service{number % 40}.service",
            "reason": "it has read nothing for 12 s, 3.1 MiB wait",
        }
        where = {"cause": "reader-slow"}
        if number < waiting:
            ends = {"local_ip": f"10.1.{number >> 8}.{number & 255}", "local_port": str(30_000 + number)}
            where = {
                "cause": "peer-not-answering",
                "type": "SEND",
                **ends,
                "remote_ip": "10.0.0.5",
                "remote_port": "5432",
            }
        yield alert_entry(told(number, **at, **whose, **where, size=2_000_000 + number, event="exceeded"))


def _fill(engine: Engine, hosts: int, opened_: int, waiting: int) -> None:
    now_s = time.time()
    silent, blind = min(SILENT, hosts // 10), min(BLIND, hosts // 10)
    of_hosts = {
        now_s: _heartbeats(range(hosts - silent - blind), now_s),
        now_s - 0.5: _heartbeats(range(hosts - silent - blind, hosts - silent), now_s, mode="poll"),
        now_s - 1000: _heartbeats(range(hosts - silent, hosts), now_s - 1000, heartbeat="60"),
    }
    for heard_s, beats in of_hosts.items():
        while some := list(islice(beats, AT_ONCE)):
            with engine.begin() as connection:
                if is_clickhouse(connection):
                    write(connection, some, heard_s)
                else:  # hosts are summed up as heartbeats come
                    tell_hosts(connection, some, heard_s)
    episodes = _open(opened_, waiting, now_s)
    while some := list(islice(episodes, AT_ONCE)):
        with engine.begin() as connection:
            write(connection, some)


def _took_ms(store: Store, path: str) -> float:
    begun_s = time.perf_counter()
    answer = requests.get(store.url + path, timeout=30)
    took_ms = (time.perf_counter() - begun_s) * 1e3
    assert answer.status_code == 200, answer.text
    if path == NOW:
        across = [each for each in answer.json()["incidents"] if each["kind"] == "remote-service"]
        assert [each["remote"] for each in across] == ["10.0.0.5:5432"]
    return took_ms


def _alert(store: Store, number: int) -> None:
    at = {"host": f"host{number:06}", "run": f"{number:016x}", "timestamp": f"{time.time():.6f}"}
    alert = told(number, **at, seq=time.time_ns(), event="ongoing")
    assert requests.get(f"{store.url}/alert", params=alert, timeout=30).json() == {"new": True}


def _figure(what: str, values_ms: list[float], goal_ms: float, note: str = "") -> Figure:
    worst = percentile(values_ms, 0.99)
    spread = f"p50 {median(values_ms):.0f}, {len(values_ms)} times{note}"
    return Figure(what, "ms", (worst,), f"at most {goal_ms:g} ms", worst <= goal_ms, note=spread)


def _asked(url: str, of: str, cold: int, asked: int) -> list[Figure]:
    first: list[float] = []
    for _ in range(cold - 1):
        with serving(url) as store:
            first.append(_took_ms(store, NOW))
    with serving(url) as store:
        first.append(_took_ms(store, NOW))
        figures = [_figure(f"GET /now, {of}: the first of a store, the slowest", first, NOW_GOAL_MS)]
        for path in (NOW, *HOSTS_PATHS):
            took_ms = []
            for number in range(asked):
                _alert(store, number)
                took_ms.append(_took_ms(store, path))
            name = f"GET {path}, {of}: each after an alert, the 99th of 100"
            figures.append(_figure(name, took_ms, NOW_GOAL_MS, f"; {memory_mib(store.process.pid):.0f} MiB"))
    return figures


def _painted(url: str, of: str, paints: int) -> list[Figure]:
    painted: list[float] = []
    first: list[float] = []
    with serving(url) as store, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS.split())
        for _ in range(paints):
            with opened(browser, store) as page:
                begun_ms = page.evaluate("performance.timeOrigin")
                first.append(page.evaluate("window.seen.first") - begun_ms)
                expect(page.locator("#hosts tbody tr").first).to_be_visible(timeout=60_000)
                painted += [page.evaluate(PAINTED)] if page.evaluate(PAINTED) else []
        browser.close()
    return [
        _figure(f"the page, {of}: to the first paint, the 99th of 100", painted, PAINT_GOAL_MS),
        _figure(f"the page, {of}: to the first incident, the 99th of 100", first, PAINT_GOAL_MS),
    ]


def measure(*, quick: bool) -> list[Figure]:
    """Return the figures; quick ones are not to be believed."""
    hosts, opened_, waiting = (QUICK_HOSTS, QUICK_OPEN, QUICK_WAITING) if quick else (HOSTS, OPEN, WAITING)
    cold, asked, paints = (1, 2, 1) if quick else (COLD, ASKED, PAINTS)
    figures: list[Figure] = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp"))))
        file = folder / "alerts.sqlite"
        url = f"sqlite:///{file}"
        engine = _migrated(url)
        _fill(engine, hosts, opened_, waiting)
        engine.dispose()
        of = f"{hosts} hosts, {opened_} open episodes, "
        figures += attempted(f"GET /now, {of}SQLite", partial(_asked, url, f"{of}SQLite", cold, asked))
        figures += attempted(f"the page, {of}SQLite", partial(_painted, url, f"{of}SQLite", paints))
        if quick:  # what is left is the same, on other databases
            return figures
        other = new_database(stack.enter_context(postgresql()))
        copy_tables(file, other, OF_NOW)
        figures += attempted(
            f"GET /now, {of}PostgreSQL", partial(_asked, other, f"{of}PostgreSQL", cold, asked)
        )
        other = new_database(stack.enter_context(clickhouse()))
        engine = _migrated(engine_url(other))
        _fill(engine, hosts, opened_, waiting)
        engine.dispose()
        figures += attempted(
            f"GET /now, {of}ClickHouse", partial(_asked, other, f"{of}ClickHouse", cold, asked)
        )
        figures += attempted(f"the page, {of}ClickHouse", partial(_painted, other, f"{of}ClickHouse", paints))
    return figures


def _migrated(url: str) -> Engine:
    engine = open_engine(url, connections=1)
    migrate(engine)
    return engine
