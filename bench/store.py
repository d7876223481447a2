# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How much the store takes in, how soon it finds something among a million alerts, what it needs for that.

wrk sends the alerts, one process has the store, the disk is the machine's own.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import requests
from sqlalchemy import func, select

from bench.figure import Figure, median, percentile
from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.entry import alert_entry
from sockbpf.store.data.migration import migrate
from sockbpf.store.data.rows import write
from sockbpf.store.data.schema import EDITION, ENTRY
from tests.store.servers import mysql, new_database, postgresql
from tests.store.serving import Store, start_store
from tests.store.talking import memory_mib

CONNECTIONS = 64
SECONDS = 10
MILLION = 1_000_000
ASKED = 300
RATE_GOAL, FIND_GOAL_MS, MEMORY_GOAL_MB, PAINT_GOAL_MS = 2000, 50.0, 150.0, 1000.0
BATCH = 5000
FIRST_S = 1_795_000_000
SPAN_S = 30 * 86400
"""The time over which the alerts are spread."""
HOURS_S = 3600 * 6
"""The time range of one query."""
CACHE = Path(".cache/bench")
CHROMIUM = "/usr/bin/chromium"
ALERTS = Path(__file__).parent / "alerts.lua"


def filled(count: int) -> Path:
    """Return a database with so many alerts; it is made once."""
    sources = ("schema.py", "entry.py", "columns.py", "values.py", "tally.py", "timeline_tables.py")
    newest_s = max(Path("sockbpf/store/data", name).stat().st_mtime for name in sources)
    path = CACHE / f"{count}-edition{EDITION}.sqlite"
    if path.exists() and path.stat().st_mtime > newest_s:
        return path
    CACHE.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    raw = path.with_suffix(".unfinished")
    raw.unlink(missing_ok=True)
    engine = open_engine(f"sqlite:///{raw.absolute()}", connections=1)
    migrate(engine)
    for begin in range(0, count, BATCH):
        with engine.begin() as connection:
            write(connection, [alert_entry(alert(n, count)) for n in range(begin, min(begin + BATCH, count))])
    with engine.connect() as connection:
        assert connection.execute(select(func.count()).select_from(ENTRY)).scalar() == count
    engine.dispose()
    raw.rename(path)
    return path


def alert(number: int, count: int) -> dict[str, str]:
    """Return one of `count` alerts: three of an episode, a few busy services, many rare ones."""
    episode, step = divmod(number, 3)
    chance = random.Random(episode)
    at_s = FIRST_S + episode * 3 / count * SPAN_S + step * 20
    size = chance.randrange(1_048_577, 64_000_000)
    event = ("exceeded", "ongoing", "cleared")[step]
    busy = chance.random() < 0.9
    fields = {
        "timestamp": f"{at_s:.6f}",
        "event": event,
        "protocol": chance.choice(("tcp", "tcp", "tcp", "udp")),
        "local_ip": f"10.0.{chance.randrange(4)}.{chance.randrange(50)}",
        "local_port": chance.choice((443, 8443, 5432, 6379, 9092)) if busy else chance.randrange(1024, 60000),
        "remote_ip": f"192.0.2.{chance.randrange(250)}",
        "remote_port": chance.randrange(1024, 60_000),
        "type": chance.choice(("SEND", "RECV")),
        "size": 4096 if event == "cleared" else size,
        "threshold": 1_048_576,
        "peak": size,
        "duration": f"{step * 20}.000000",
        "id": f"{episode:016x}",
        "seq": number,
        "host": f"web{chance.randrange(20)}",
        "netns": 4_026_531_833,
        "mode": "ebpf",
        "pid": chance.randrange(300, 30_000),
        "comm": f"worker{chance.randrange(2000)}"
        if not busy
        else chance.choice(("nginx", "postgres", "redis")),
    }
    return {name: str(value) for name, value in fields.items()}


@dataclass(frozen=True)
class Load:
    """What wrk says of a run."""

    answered: int
    seconds: float
    errors: int

    @property
    def per_second(self) -> float:
        return self.answered / self.seconds


def load(url: str, seconds: int) -> Load:
    """Send alerts without pause; the numbers are those of wrk."""
    ran = subprocess.run(
        ["wrk", "-t2", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", str(ALERTS), url],
        capture_output=True,
        text=True,
        check=True,
    )
    done = re.search(r"(\d+) requests in ([\d.]+)(m?s)", ran.stdout)
    assert done, ran.stdout
    errors = re.findall(r"(?:Non-2xx or 3xx responses: |connect |read |write |timeout )(\d+)", ran.stdout)
    took_s = float(done[2]) / (1000 if done[3] == "ms" else 1)
    return Load(int(done[1]), took_s, sum(int(count) for count in errors))


def kept(store: Store) -> int:
    found = re.search(
        r"^sockbpf_store_kept_total ([\d.e+]+)$",
        requests.get(f"{store.url}/metrics", timeout=9).text,
        re.MULTILINE,
    )
    assert found
    return int(float(found[1]))


@contextmanager
def serving(database: str) -> Iterator[Store]:
    with TemporaryDirectory() as folder:
        store = start_store(Path(folder) / "store", database)
        try:
            yield store
        finally:
            store.stop()


def taking(name: str, database: str, seconds: int, *, goal: bool) -> Figure:
    """Measure alerts answered in a second, each after its commit; what was answered must be there."""
    with serving(database) as store:
        run = load(store.url, seconds)
        count = kept(store)
        memory_mb = memory_mib(store.process.pid) * 1.048576
    assert run.errors == 0, run
    # What was under way when wrk went away is kept too.
    assert run.answered <= count <= run.answered + CONNECTIONS, (run, count)
    return Figure(
        f"alerts into the store, {name}, {CONNECTIONS} connections",
        "per second",
        (run.per_second,),
        goal=f"at least {RATE_GOAL}" if goal else "",
        met=run.per_second >= RATE_GOAL if goal else None,
        note=f"{run.answered} answered, none lost; {memory_mb:.0f} MB resident",
    )


def finding(store: Store, count: int, asked: int) -> list[Figure]:
    """Measure searches among so many alerts, through HTTP, none twice."""
    chance = random.Random(count)
    session = requests.Session()

    def by_time_and_port() -> str:
        begin_s = FIRST_S + chance.uniform(0, SPAN_S - HOURS_S)
        port = chance.choice((443, 8443, 5432, 6379, 9092, chance.randrange(1024, 60000)))
        return f"/store.json?from={begin_s:.0f}&to={begin_s + HOURS_S:.0f}&port={port}"

    def by_something() -> str:
        begin_s = FIRST_S + chance.uniform(0, SPAN_S - HOURS_S)
        return chance.choice(
            (
                f"/store.json?comm=worker{chance.randrange(2000)}",
                f"/store.json?host=web{chance.randrange(20)}",
                f"/store.json?host=nowhere{chance.randrange(9999)}",
                f"/store.json?pid={chance.randrange(300, 30_000)}",
                f"/store.json?ip=10.0.{chance.randrange(4)}.{chance.randrange(50)}",
                f"/store.json?cidr=192.0.2.{chance.randrange(0, 250, 8)}/29",
                f"/store.json?min_size={chance.randrange(60_000_000, 64_000_000)}",
                f"/store.json?id={chance.randrange(count // 3):016x}",
                f"/episodes?from={begin_s:.0f}&to={begin_s + HOURS_S:.0f}",
                f"/episodes?from={begin_s:.0f}&to={begin_s + HOURS_S:.0f}&sort=peak",
                f"/episodes?from={begin_s:.0f}&port={chance.choice((443, 5432))}",
                f"/episodes?sort=peak&open=true&limit={chance.randrange(1, 1000)}",
                f"/episodes?comm=worker{chance.randrange(2000)}",
                f"/episodes?text=worker{chance.randrange(2000)}%20web{chance.randrange(20)}",
                f"/episodes?sort=peak&host=web{chance.randrange(20)}",
            )
        )

    figures = []
    for what, query, goal in (
        ("a time range and a port", by_time_and_port, True),
        ("anything else", by_something, False),
    ):
        took_ms = []
        for _ in range(asked):
            target = query()
            begun = time.perf_counter()
            answer = session.get(store.url + target, timeout=30)
            took_ms.append((time.perf_counter() - begun) * 1e3)
            assert answer.status_code == 200, answer.text
        figures.append(
            Figure(
                f"found among {count} alerts by {what}, the slowest of {asked}",
                "ms",
                (max(took_ms),),
                f"at most {FIND_GOAL_MS:g} ms" if goal else "",
                max(took_ms) <= FIND_GOAL_MS if goal else None,
                note=f"p50 {median(took_ms):.1f}, p99 {percentile(took_ms, 0.99):.1f}",
            )
        )
    return figures


def first_paint(store: Store, runs: int) -> Figure:
    """Measure the page's first paint in Chromium, new each time."""
    from playwright.sync_api import sync_playwright

    painted_ms = []
    with sync_playwright() as playwright:
        for _ in range(runs):
            browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
            page = browser.new_page()
            page.goto(store.url)
            painted_ms.append(
                float(
                    page.evaluate(
                        """() => new Promise(found => new PerformanceObserver(list => {
                            for (const entry of list.getEntriesByName("first-contentful-paint"))
                                found(entry.startTime);
                        }).observe({type: "paint", buffered: true}))"""
                    )
                )
            )
            browser.close()
    return Figure(
        f"the page's first paint with {MILLION} alerts",
        "ms",
        tuple(painted_ms),
        f"at most {PAINT_GOAL_MS:g} ms",
        max(painted_ms) <= PAINT_GOAL_MS,
        note="headless Chromium, a new one each time",
    )


def measure(*, quick: bool) -> list[Figure]:
    """Return the figures of the store; quick ones are not to be believed."""
    seconds, count, asked = (1, 5000, 30) if quick else (SECONDS, MILLION, ASKED)
    with TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        figures = [taking("SQLite", f"sqlite:///{folder}/taken.sqlite", seconds, goal=True)]
    for name, running in (("PostgreSQL", postgresql), ("MariaDB", mysql)):
        with running() as server:
            figures.append(taking(name, new_database(server), seconds, goal=False))
    with serving(f"sqlite:///{filled(count).absolute()}") as store:
        figures += finding(store, count, asked)
        if not quick:
            figures.append(first_paint(store, 5))
        memory_mb = memory_mib(store.process.pid) * 1.048576
    figures.append(
        Figure(
            "the store's resident memory after the searches",
            "MB",
            (memory_mb,),
            f"at most {MEMORY_GOAL_MB:g} MB",
            memory_mb <= MEMORY_GOAL_MB,
        )
    )
    return figures
