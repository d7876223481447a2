# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""An emulator of BigQuery, bqemulator, in an environment of its own: it does not go with what else is pinned.

It runs as it is, but for its geography: that is an extension of DuckDB which it would download.
"""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery

from tests.live.ports import free_port
from tests.live.waiting import DEADLINE_S, until
from tests.unit.field_docs import SCHEMA

PYTHON = Path(sys.prefix) / "bqemulator/bin/python"
PROGRAM = """
from bqemulator.cli import main
from bqemulator.storage.engine import DuckDBEngine

DuckDBEngine._load_spatial = DuckDBEngine._load_format_extensions = lambda _: None
main()
"""


@contextmanager
def emulator(folder: Path) -> Iterator[tuple[int, Callable[[], object]]]:
    """Start it; yield its port, and what waits until it answers there: that takes seconds."""
    port = free_port()
    command = [str(PYTHON), "-c", PROGRAM, "start", "--rest-port", str(port), "--grpc-port", "0"]
    with ExitStack() as stack:
        log = folder / "emulator.log"
        with log.open("wb") as sink:
            process = subprocess.Popen([*command, "--log-level", "error"], stdout=sink, stderr=sink)
        stack.callback(process.wait, DEADLINE_S)
        stack.callback(process.kill)

        def listens() -> bool:
            assert process.poll() is None, log.read_text()[-2000:]
            with socket.socket() as made:
                return made.connect_ex(("127.0.0.1", port)) == 0

        yield port, lambda: until(listens, lambda: log.read_text()[-2000:], 120)


def client(url: str) -> bigquery.Client:
    nobody = AnonymousCredentials()  # type: ignore[no-untyped-call]
    return bigquery.Client("my-project", credentials=nobody, client_options={"api_endpoint": url})


def make_table(url: str) -> None:
    """Make the dataset and the table that docs/bigquery.md has `bq` make."""
    with client(url) as asks:
        asks.create_dataset("sockbpf")
        columns = [bigquery.SchemaField.from_api_repr(each) for each in json.loads(SCHEMA.read_text())]
        table = bigquery.Table("my-project.sockbpf.alerts", schema=columns)
        table.time_partitioning = bigquery.TimePartitioning(field="timestamp")
        table.clustering_fields = ["host", "event", "id"]
        asks.create_table(table)
