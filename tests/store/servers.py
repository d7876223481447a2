# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Servers of databases for the tests: PostgreSQL, and ClickHouse's engine."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp

import requests

from tests.live.ports import free_port
from tests.live.waiting import until

POSTGRESQL = Path("/usr/lib/postgresql")


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
