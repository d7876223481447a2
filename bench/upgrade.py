# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How a store of the first edition with a million alerts becomes one of this: time, memory, answers meanwhile."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import requests
from sqlalchemy import func, select, text

from bench.figure import Figure
from bench.simulated.receivers import peak_mib
from sockbpf.settings.store import StoreSettings as Settings
from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.migration import migrate
from sockbpf.store.data.schema import ENTRY
from tests.store.altering import first_edition
from tests.store.servers import new_database, postgresql
from tests.store.serving import start_store, told

ALERTS, QUICK_ALERTS = 1_000_000, 3000
FIRST_S = 1_780_000_000
LONGEST_S, PAUSE_S = 60.0, 0.2
GOAL_S, MEMORY_GOAL_MIB, ANSWER_GOAL_S = 120.0, 300.0, 5.0
NUMBERS = {
    "sqlite": "(with recursive number(n) as (select 0 union all select n + 1 from number where n < :last) "
    "select n from number)",
    "postgresql": "(select generate_series(0, :last) as n)",
}
BYTES = {"sqlite": "cast(cast(n as text) as blob)", "postgresql": "convert_to(cast(n as text), 'UTF8')"}
ENTRIES = """
insert into entry (at, key, event, protocol, type, local_port, remote_port, host, pid, comm, size, id, body)
select {first} + n, {key}, 'ongoing', 'tcp', 'RECV', 443, 1024 + n % 50000, 'web' || (n % 20), 300 + n % 3000,
  'worker' || (n % 2000), 2000000 + n, 'e' || (n / 3),
  '{{"timestamp": ' || ({first} + n) || '.0, "event": "ongoing", "protocol": "tcp", "type": "RECV", '
  || '"local_ip": "10.0.0.1", "local_port": 443, "remote_ip": "192.0.2.1", "remote_port": ' || (1024 + n % 50000)
  || ', "size": ' || (2000000 + n) || ', "threshold": 1048576, "peak": 2000000, "duration": 1.0, "id": "e' || (n / 3)
  || '", "seq": ' || n || ', "host": "web' || (n % 20) || '", "pid": ' || (300 + n % 3000)
  || ', "comm": "worker' || (n % 2000) || '"}}'
from {numbers} as numbers"""
EPISODES = """
insert into episode (host, id, protocol, type, local_ip, local_port, remote_ip, remote_port, pid, comm, netns,
  start, "end", last, size, peak, threshold, alerts)
select 'web' || (n % 20), 'e' || (n / 3), 'tcp', 'RECV', '10.0.0.1', 443, '192.0.2.1', 1024 + n % 50000,
  300 + n % 3000, 'worker' || (n % 2000), 4026531833, {first} + n - 1,
  case when n % 999 > 0 then {first} + n + 2 end, {first} + n + 2, 2000000 + n, 2000000 + n, 1048576, 3
from {numbers} as numbers where n % 3 = 0"""


def make_old(database: str, count: int) -> None:
    """Make of an empty database one of the first edition with so many alerts, three of an episode."""
    url = Settings(database=database).database
    engine = open_engine(url, connections=1)
    migrate(engine)
    engine.dispose()
    first_edition(database)
    engine = open_engine(url, connections=1)
    kind = engine.dialect.name
    with engine.begin() as connection:
        if kind == "postgresql":
            connection.execute(text("set local statement_timeout = 0"))
        for table in ("timeline", "timeline_series", "timeline_state"):
            connection.execute(text(f"drop table {table}"))
        for statement in (ENTRIES, EPISODES):
            made = statement.format(first=FIRST_S, key=BYTES[kind], numbers=NUMBERS[kind])
            connection.execute(text(re.sub(":(?!last)", r"\\:", made)), {"last": count - 1})
        if kind == "sqlite":
            connection.exec_driver_sql("pragma user_version = 1")
    engine.dispose()


class Meanwhile:
    """What a store answers, and how soon."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.answers: Counter[str] = Counter()
        self.slowest_s = 0.0

    def ask(self, path: str, **parameters: str) -> bool:
        """Return whether the answer is 200; nobody may listen yet."""
        asked_s = time.monotonic()
        try:
            status = requests.get(self._url + path, params=parameters, timeout=LONGEST_S).status_code
        except requests.ConnectionError:
            return False
        except requests.Timeout:
            status = 0
        self.slowest_s = max(self.slowest_s, time.monotonic() - asked_s)
        self.answers[f"{path} {status or 'nothing'}"] += 1
        return status == 200


def upgraded(name: str, database: str, folder: Path, count: int) -> list[Figure]:
    """Start a store on such a database, and ask until it is healthy and has kept an alert."""
    make_old(database, count)
    begun_s = time.monotonic()
    store = start_store(folder, database, healthy=False)
    try:
        asked = Meanwhile(store.url)
        is_kept = is_healthy = False
        while not (is_kept and is_healthy):
            assert store.process.poll() is None, store.log()
            is_kept = is_kept or asked.ask("/alert", **told(1, host="new"))
            asked.ask("/now")
            asked.ask("/")
            is_healthy = is_healthy or asked.ask("/healthz")
            time.sleep(PAUSE_S)
        took_s = time.monotonic() - begun_s
        memory_mib = peak_mib(store.process.pid)
    finally:
        store.stop()
    engine = open_engine(Settings(database=database).database, connections=1)
    with engine.connect() as connection:
        kept = connection.execute(select(func.count()).select_from(ENTRY)).scalar_one()
    engine.dispose()
    of = f"a store of the first edition with {count} alerts, {name}"
    said = ", ".join(f"{number} times {what}" for what, number in sorted(asked.answers.items()))
    figures = (
        ("until it is one of this edition", "s", took_s, GOAL_S, f"{count + 1 - kept} lost; {said}"),
        ("the slowest answer meanwhile", "s", asked.slowest_s, ANSWER_GOAL_S, ""),
        ("the most memory meanwhile", "MiB", memory_mib, MEMORY_GOAL_MIB, ""),
    )
    return [
        Figure(f"{of}: {what}", unit, (value,), f"at most {goal:g} {unit}", value <= goal, note=note)
        for what, unit, value, goal, note in figures
    ]


def measure(*, quick: bool) -> list[Figure]:
    """Return the figures; quick ones are not to be believed."""
    count = QUICK_ALERTS if quick else ALERTS
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp"))))
        (folder / "sqlite").mkdir()
        figures = upgraded("SQLite", f"sqlite:///{folder}/sqlite/alerts.sqlite", folder / "one", count)
        other = new_database(stack.enter_context(postgresql()))
        return figures + upgraded("PostgreSQL", other, folder / "two", count)
