# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How a store of the first edition with a million alerts becomes one of this: time, memory, answers meanwhile."""

from __future__ import annotations

import os
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import requests
from sqlalchemy import column, func, insert, select, table, text

from bench.figure import Figure
from bench.simulated.receivers import peak_mib
from sockbpf.settings.store import StoreSettings as Settings
from sockbpf.store.data.columns import LATER_COLUMNS
from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.entry import Entry, alert_entry
from sockbpf.store.data.migration import migrate
from sockbpf.store.data.schema import ENTRY
from tests.store.altering import first_edition
from tests.store.servers import new_database, postgresql
from tests.store.serving import start_store, told

ALERTS, QUICK_ALERTS = 1_000_000, 3000
AGO_S = 20 * 86_400
"""So long ago the first alert was told, the others a second after one another: none is so old that it goes."""
LONGEST_S, PAUSE_S = 60.0, 0.2
GOAL_S, MEMORY_GOAL_MIB, ANSWER_GOAL_S = 120.0, 300.0, 5.0
NEW = {"n", "arrived", "trusted", "digest", *LATER_COLUMNS}
OLD = table("entry", *(column(each.name, each.type) for each in ENTRY.c if each.name not in NEW))
"""Its entries, without what later editions added."""
AT_ONCE = 10_000
EPISODES = """
insert into episode (host, id, protocol, type, local_ip, local_packed, local_port, remote_ip, remote_packed,
  remote_port, pid, comm, netns, start, "end", last, size, peak, threshold, alerts)
select host, id, protocol, type, '192.0.2.1', local_packed, local_port, '198.51.100.7', remote_packed, remote_port,
  pid, comm, 4026531833, min(at), case when max(size) % 999 > 0 then max(at) end, max(at), max(size), max(size),
  1048576, count(*)
from entry
group by host, id, protocol, type, local_packed, local_port, remote_packed, remote_port, pid, comm"""


def make_old(database: str, count: int) -> None:
    """Make of an empty database one of the first edition with so many alerts, three of an episode."""
    url = Settings(database=database).database
    engine = open_engine(url, connections=1)
    migrate(engine)
    engine.dispose()
    first_edition(database)
    engine = open_engine(url, connections=1)
    kind, first_s = engine.dialect.name, int(time.time()) - AGO_S
    with engine.begin() as connection:
        if kind == "postgresql":
            connection.execute(text("set local statement_timeout = 0"))
        for name in ("timeline", "timeline_series", "timeline_state"):
            connection.execute(text(f"drop table {name}"))
        for begin in range(0, count, AT_ONCE):
            alerts = (alert_of(n, first_s) for n in range(begin, min(begin + AT_ONCE, count)))
            connection.execute(insert(OLD), [_row(alert_entry(alert)) for alert in alerts])
        connection.execute(text(EPISODES))
        if kind == "sqlite":
            connection.exec_driver_sql("pragma user_version = 1")
    engine.dispose()


def alert_of(number: int, first_s: int) -> dict[str, str]:
    """Return the fields of an alert, of which three are one episode."""
    episode = number // 3
    return told(
        number,
        timestamp=f"{first_s + number}.5",
        id=f"e{episode}",
        event="ongoing",
        host=f"web{episode % 20}",
        remote_port=1024 + episode % 60_000,
        pid=300 + episode % 3000,
        comm=f"worker{episode % 2000}",
    )


def _row(entry: Entry) -> dict[str, object]:
    """Return the row that a store of the first edition made of it."""
    made = {**entry.columns, "at": entry.at_s, "key": entry.key, "body": entry.body}
    return {each.name: made[each.name] for each in OLD.columns}


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
