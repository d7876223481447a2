# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Servers of databases for the tests: PostgreSQL, MariaDB, and ClickHouse's engine."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from urllib.parse import urlsplit

import requests

from tests.live.ports import free_port
from tests.live.waiting import until

POSTGRESQL = Path("/usr/lib/postgresql")
RATHER_BY_INDEX = {"postgresql": "set local enable_seqscan = off", "mysql": "set max_seeks_for_key = 1"}
"""What has a database, by its dialect, take an index however few rows there are."""


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
        with suppress(subprocess.CalledProcessError):  # it may have ended
            run("pg_ctl", "-m", "immediate", "stop")
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class MySQL:
    """A MariaDB with its files in `folder`."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"mysql://sockbpf@127.0.0.1:{self.port}"


@contextmanager
def _ended(process: subprocess.Popen[bytes], folder: Path) -> Iterator[None]:
    """Kill a server at the end of this block, and remove its files."""
    try:
        yield
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def mysql() -> Iterator[str]:
    """Run a MariaDB of our own; yield the URL of its server, without a database's name."""
    folder = Path(mkdtemp(prefix="sockbpf-mysql-"))
    make_mysql(folder)
    server = start_mysql(folder, free_port())
    with _ended(server.process, folder):
        yield server.url


def make_mysql(folder: Path) -> None:
    """Make what a MariaDB has before it is started the first time.

    It has a folder of its own for what is temporary: each that starts deletes there what others have.
    """
    made = [
        "mariadb-install-db",
        "--no-defaults",
        f"--datadir={folder / 'data'}",
        "--skip-test-db",
        "--user=root",
    ]
    ran = subprocess.run(
        [*made, "--auth-root-authentication-method=normal", f"--tmpdir={folder}"],
        check=False,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (folder / "init.sql").write_text(
        "create user if not exists 'sockbpf'@'%';\ngrant all on *.* to 'sockbpf'@'%' with grant option;\n"
    )


def start_mysql(folder: Path, port: int, *options: str) -> MySQL:
    """Start a MariaDB with its files in `folder`."""
    import pymysql

    program = [
        "/usr/sbin/mariadbd",
        "--no-defaults",
        f"--tmpdir={folder}",
        f"--datadir={folder / 'data'}",
        "--user=root",
    ]
    at = [f"--port={port}", "--bind-address=127.0.0.1", f"--socket={folder / 'socket'}"]
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(
            [*program, *at, f"--init-file={folder / 'init.sql'}", *options], stdout=log, stderr=log
        )
    server = MySQL(folder, port, process)

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            pymysql.connect(host="127.0.0.1", port=port, user="sockbpf").close()
        except pymysql.err.OperationalError:
            return False
        return True

    until(answers, "MariaDB answers")
    return server


@contextmanager
def clickhouse() -> Iterator[str]:
    """Run ClickHouse's engine as a server; yield its URL, without a database's name."""
    folder = Path(mkdtemp(prefix="sockbpf-clickhouse-"))
    server = start_clickhouse(folder, free_port())
    with _ended(server.process, folder):
        yield server.url


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
        except requests.RequestException:
            return False

    until(answers, "ClickHouse answers")
    return ClickHouse(f"clickhouse://127.0.0.1:{port}", process)


STARTS: dict[str, Callable[[Path, int], ClickHouse | MySQL]] = {
    "clickhouse": start_clickhouse,
    "mysql": start_mysql,
}
"""What starts a server with its files in a folder, at a port; a MariaDB's were made before."""


def new_database(server: str) -> str:
    """Make a database on this server; return its URL."""
    import psycopg
    import pymysql

    name = f"t{time.monotonic_ns()}"
    if server.startswith("clickhouse"):
        requests.post(
            server.replace("clickhouse", "http"), f"create database {name}", timeout=60
        ).raise_for_status()
        return f"{server}/{name}"
    if server.startswith("mysql"):
        place = urlsplit(server)
        with pymysql.connect(host=place.hostname, port=place.port or 0, user=place.username) as made:
            made.cursor().execute(f"create database {name}")
        return f"{server}/{name}"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f'create database "{name}"')  # type: ignore[arg-type,unused-ignore]
    return f"{server}/{name}"
