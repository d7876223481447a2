# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The store as a process of its own, on SQLite or on a PostgreSQL of the tests' own."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import pytest
import requests
import yaml
from sqlalchemy import Connection, select, text

from sockbpf.settings.store import StoreSettings as Settings
from sockbpf.store.data.clickhouse_schema import KEPT
from sockbpf.store.data.columns import LATER, LATER_COLUMNS, LATER_OF_EPISODES
from sockbpf.store.data.digest import digest_of
from sockbpf.store.data.engine import is_clickhouse, open_engine
from sockbpf.store.data.schema import ENTRY, EPISODE, HOST, PAIR
from sockbpf.store.data.timeline_tables import TIMELINE
from tests.live.ports import free_port
from tests.live.waiting import DEADLINE_S, until

POSTGRESQL = Path("/usr/lib/postgresql")
TOKEN = "a-token-of-the-tests"


@dataclass
class Store:
    """A running `sockbpf store`."""

    url: str
    process: subprocess.Popen[bytes]
    log_file: Path
    config: Path
    token: str = ""
    trusted: str | bool = True
    """Whose certificate it shows: the file of an authority, or True for one of the system's."""

    @property
    def headers(self) -> dict[str, str]:
        """What who knows the token sends."""
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def log(self) -> str:
        return self.log_file.read_text(errors="replace")

    def wait_healthy(self) -> None:
        def healthy() -> bool:
            if self.process.poll() is not None:
                pytest.fail(f"the store exited {self.process.returncode}:\n{self.log()}")
            try:
                return requests.get(f"{self.url}/healthz", timeout=5, verify=self.trusted).status_code == 200
            except requests.RequestException:
                return False

        until(healthy, lambda: f"the store answers:\n{self.log()}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)


def start_store(
    folder: Path,
    database: str,
    *,
    healthy: bool = True,
    log: Any = None,
    trusted: str | bool = True,
    **settings: Any,
) -> Store:
    """Start a store with its files in `folder`; settings are given as `store:` of config.yaml has them.

    Where it speaks TLS, `trusted` is the file of the authority that its certificate is of.
    """
    folder.mkdir(exist_ok=True)
    port = settings.pop("port", 0) or free_port()
    config, log_file = folder / "config.yaml", folder / "store.log"
    store = {"listen": f"127.0.0.1:{port}", "database": database, "user": "root", "keep": 0} | settings
    config.write_text(yaml.safe_dump({"url": f"http://127.0.0.1:{port}/alert", "store": store}))
    with log_file.open("ab") as sink:
        process = subprocess.Popen(
            [sys.executable, "-m", "sockbpf", "store", "-c", str(config)], stdout=sink, stderr=log or sink
        )
    scheme = "https" if "tls_cert" in settings else "http"
    token = settings.get("token", "")
    known = token if isinstance(token, str) else ""
    made = Store(f"{scheme}://127.0.0.1:{port}", process, log_file, config, known, trusted)
    if healthy:
        made.wait_healthy()
    return made


@contextmanager
def postgresql() -> Iterator[str]:
    """Run a PostgreSQL of our own; yield the URL of its server, without a database's name."""
    programs = max(POSTGRESQL.glob("*/bin"), key=lambda path: int(path.parent.name))
    folder = Path(mkdtemp(prefix="sockbpf-postgresql-"))
    shutil.chown(folder, "postgres")
    port = free_port()

    def run(program: str, *arguments: str) -> None:
        subprocess.run(
            [
                "runuser",
                "-u",
                "postgres",
                "--",
                str(programs / program),
                "-D",
                str(folder / "data"),
                *arguments,
            ],
            check=True,
            stdout=subprocess.DEVNULL,
        )

    try:
        run("initdb", "-A", "trust", "-U", "postgres", "--no-sync")
        options = f"-p {port} -k {folder} -c listen_addresses=127.0.0.1"
        run("pg_ctl", "-o", options, "-l", str(folder / "log"), "-w", "start")
        yield f"postgresql://postgres@127.0.0.1:{port}"
    finally:
        run("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def clickhouse() -> Iterator[str]:
    """Run ClickHouse's engine as a server; yield its URL, without a database's name."""
    folder = Path(mkdtemp(prefix="sockbpf-clickhouse-"))
    server = start_clickhouse(folder, free_port())
    try:
        yield server.url
    finally:
        server.process.kill()
        server.process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class ClickHouse:
    url: str
    process: subprocess.Popen[bytes]


def start_clickhouse(folder: Path, port: int) -> ClickHouse:
    """Start a server with its files in `folder`."""
    program = Path(__file__).with_name("clickhouse_server.py")
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, str(program), str(folder / "data"), str(port)], stdout=log, stderr=log
        )

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            return requests.get(f"http://127.0.0.1:{port}/ping", timeout=5).ok
        except requests.ConnectionError:
            return False

    until(answers, "ClickHouse answers")
    return ClickHouse(f"clickhouse://127.0.0.1:{port}", process)


def new_database(server: str) -> str:
    """Make a database on this server; return its URL."""
    import psycopg

    name = f"t{time.monotonic_ns()}"
    if server.startswith("clickhouse"):
        requests.post(
            server.replace("clickhouse", "http"), f"create database {name}", timeout=60
        ).raise_for_status()
        return f"{server}/{name}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f'create database "{name}"')  # type: ignore[arg-type,unused-ignore]
    return f"{server}/{name}"


def engine_url(database: str) -> str:
    """Return the URL of a database as an engine takes it."""
    return Settings(database=database).database


def database_of_store(store: Store) -> str:
    """Return the URL of its database, as an engine takes it."""
    return engine_url(yaml.safe_load(store.config.read_text())["store"]["database"])


def empty(store: Store) -> None:
    """Have its database hold nothing, as nobody can who only asks the store."""
    engine = open_engine(database_of_store(store), connections=1)
    with engine.begin() as connection:
        empty_tables(connection)
    engine.dispose()


def empty_tables(connection: Connection) -> None:
    if is_clickhouse(connection):
        for name in KEPT:
            connection.exec_driver_sql(f"truncate table {name}")
        return
    for table in (ENTRY, PAIR, EPISODE, HOST, TIMELINE):
        connection.execute(table.delete())


def make_host_older(connection: Connection, seconds: float, host: str) -> None:
    """Have the last word of a host have come so long ago, in ClickHouse."""
    change(connection, f"alter table host_states update heard = heard - {seconds} where host = '{host}'")


def change(connection: Connection, statement: str) -> None:
    """Have ClickHouse change rows, and wait for it."""
    connection.exec_driver_sql(f"{statement} settings mutations_sync = 1")


def make_older(database: str, seconds: float, **values: object) -> None:
    """Have what has these values of its columns have come so long ago, and its episode."""
    engine = open_engine(Settings(database=database).database, connections=1)
    with engine.begin() as connection:
        if is_clickhouse(connection):
            its = " and ".join(f"{name} = '{value}'" for name, value in values.items())
            change(connection, f"alter table entry_rows update arrived = arrived - {seconds} where {its}")
            if values.keys() <= {"host", "id"}:
                change(connection, f"alter table open_sums update came = came - {seconds} where {its}")
            return
        for table in (ENTRY, EPISODE):
            which = [table.c[name] == value for name, value in values.items() if name in table.c]
            if which:
                connection.execute(table.update().where(*which).values(arrived=table.c.arrived - seconds))
    engine.dispose()


def first_edition(database: str) -> None:
    """Make a database one of the first edition, as a store of then left it."""
    engine = open_engine(Settings(database=database).database, connections=1)
    with engine.begin() as connection:
        connection.execute(text("drop index pair_at"))
        connection.execute(text("create index pair_at on pair (at)"))
        connection.execute(text("drop table host"))
        of_episodes = ("arrived", "digest", *LATER_OF_EPISODES)
        for index in (
            "entry_arrived",
            "entry_anybody",
            "entry_heartbeat",
            "entry_started",
            "episode_open_host",
            "episode_open_heard",
            "episode_arrived",
        ):
            connection.execute(text(f"drop index {index}"))
        for table, names in (("entry", ("arrived", "trusted", "digest")), ("episode", of_episodes)):
            for name in LATER:
                connection.execute(text(f"drop index if exists {table}_{name}"))
            for name in (*names, *(name for name in LATER_COLUMNS if table == "episode" or name in ENTRY.c)):
                connection.execute(text(f'alter table {table} drop column "{name}"'))
        connection.execute(text("update store_edition set edition = 1"))
    engine.dispose()


def third_edition(database: str) -> None:
    """Make a database one of the third edition, as a store of then left it: later columns are left out."""
    engine = open_engine(Settings(database=database).database, connections=1)
    later = (*LATER_COLUMNS[1:], *LATER_OF_EPISODES)
    with engine.begin() as connection:
        connection.execute(text("drop table host"))
        for index in ("entry_started", "episode_open_host", "episode_open_heard"):
            connection.execute(text(f"drop index {index}"))
        for table in (ENTRY, EPISODE):
            for row in connection.execute(select(table)).mappings().all():
                digest = digest_of({**row, **dict.fromkeys(later)}, table.c.keys())
                its = [column == row[column.name] for column in table.primary_key]
                connection.execute(table.update().where(*its).values(digest=digest))
            for name in later:
                connection.execute(text(f"drop index if exists {table.name}_{name}"))
                if name in table.c and (table is EPISODE or name != "trusted"):
                    connection.execute(text(f'alter table {table.name} drop column "{name}"'))
        connection.execute(text("update store_edition set edition = 3"))
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("pragma user_version = 3")
    engine.dispose()


def tell(store: Store, **parameters: str) -> requests.Response:
    """Send an alert as the monitor does."""
    return requests.get(
        f"{store.url}/alert",
        params=parameters,
        headers=store.headers,
        timeout=DEADLINE_S,
        verify=store.trusted,
    )


def post(store: Store, body: object) -> None:
    answer = requests.post(
        f"{store.url}/store.json", json=body, headers=store.headers, timeout=DEADLINE_S, verify=store.trusted
    )
    assert answer.status_code == 201, answer.text


def find(store: Store, path: str = "/store.json", **filters: object) -> list[dict[str, Any]]:
    """Return what is found."""
    texts = {name.rstrip("_"): str(value) for name, value in filters.items()}
    answer = requests.get(
        f"{store.url}{path}", params=texts, headers=store.headers, timeout=DEADLINE_S, verify=store.trusted
    )
    assert answer.status_code == 200, answer.text
    return answer.json()  # type: ignore[no-any-return]


def told(number: int, **changed: object) -> dict[str, str]:
    """Return an alert's parameters as the monitor sends them, another for each number."""
    alert: dict[str, object] = {
        "timestamp": f"{1_795_343_123 + number}.482913",
        "event": "exceeded",
        "protocol": "tcp",
        "local_ip": "192.0.2.1",
        "local_port": 8443,
        "remote_ip": "198.51.100.7",
        "remote_port": 1024 + number % 60_000,
        "type": "RECV",
        "size": 1_048_577 + number,
        "threshold": 1_048_576,
        "peak": 1_048_577 + number,
        "duration": 0,
        "id": f"{number:016x}",
        "seq": number,
        "host": "web1",
        "netns": 4_026_531_833,
        "mode": "ebpf",
        "pid": 4711,
        "comm": "nginx",
    }
    return {name: str(value) for name, value in (alert | changed).items()}
