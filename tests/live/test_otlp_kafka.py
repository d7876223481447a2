# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A socket that hangs, told by OTLP and Kafka to programs of others: both have the alert, whatever is away when."""

from __future__ import annotations

import json
import socket
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from sockbpf import __version__
from sockbpf.delivery.destinations.otlp_names import NAMES
from tests.live.collectors import LOGS, METRICS, attributes, broker, collector, points, records
from tests.live.monitoring import StartMonitor, thresholds
from tests.live.ours import only_ours
from tests.live.sockets import drain, port, tcp_pair
from tests.live.waiting import until

UNREAD, THRESHOLD = 30_011, 20_011
TOPIC = "alerts"


def assert_is(record: dict[str, Any], alert: dict[str, Any], resource: dict[str, Any]) -> None:
    """Fail unless a log record, as the collector wrote it, is the alert, as the file of alerts has it."""
    found = attributes(record)
    for name, value in alert.items():
        if name == "host":
            assert resource["host.name"] == value
        elif name == "timestamp":
            assert record["timeUnixNano"] == f"{value:.6f}".replace(".", "") + "000"
        elif name == "state":
            assert found[NAMES[name]] == "established"
        else:
            assert found[NAMES.get(name, f"sockbpf.{name}")] == value, name
    assert len(found) == len(alert) - 2 + len({"network.io.direction", "network.type"})


def test_both_have_what_the_file_has(tmp_path: Path, start_monitor: StartMonitor, stack: ExitStack) -> None:
    kafka = broker(tmp_path, stack)
    otlp = collector(tmp_path, stack, kafka)
    client, reader = tcp_pair(stack)
    file = tmp_path / "alerts.jsonl"
    monitor = start_monitor(
        thresholds=thresholds(THRESHOLD),
        delivery={"timeout": "2s", "retry_first": "100ms", "retry_max": "500ms"},
        labels={"dc": "fra1"},
        destinations=[
            {"type": "file", "path": str(file)},
            {"type": "kafka", "brokers": [kafka.address], "topic": TOPIC, "timeout": "1s"},
            {
                "type": "otlp",
                "url": otlp.url,
                "resource": {"deployment.environment.name": "tests"},
                "metrics": "1s",
            },
        ],
        rules=only_ours(port(reader), type="RECV"),
    )

    def told(number: int) -> list[dict[str, Any]]:
        """Wait until both have so many alerts; return those of the file."""
        until(lambda: len(file.read_bytes().splitlines()) == number, "the file")
        alerts = [json.loads(line) for line in file.read_bytes().splitlines()]
        begun_s = time.monotonic()
        until(lambda: len(kafka.kept(TOPIC)) >= number, "the topic")
        until(lambda: len(records(kafka.kept(LOGS))) >= number, "the collector's topic")
        print(f"{time.monotonic() - begun_s:.1f} s until both had {number}")
        return alerts

    client.sendall(bytes(UNREAD))
    for name in ("kafka", "otlp"):  # neither is there
        until(lambda: f"delivery to {name} failed: " in monitor.log(), name)  # noqa: B023  called at once
    kafka.start()
    otlp.start()
    (alert,) = told(1)
    assert (alert["event"], alert["size"], alert["local_port"]) == ("exceeded", UNREAD, port(reader))
    hung = until(lambda: points(kafka.kept(METRICS), "sockbpf_queue_open_episodes"), "metrics")
    assert {point["direction"] for point in hung} >= {"RECV"}
    otlp.kill()
    drain(reader, UNREAD)
    until(lambda: b"cleared" in file.read_bytes(), "the end while the collector is away")
    otlp.start()
    alerts = told(2)
    assert [each["event"] for each in alerts] == ["exceeded", "cleared"]

    until(
        lambda: [each for each in points(kafka.kept(METRICS), "sockbpf_alerts") if each["asInt"] == 2],
        "a sum",
    )
    kept = {message.value(): message for message in kafka.kept(TOPIC)}  # a try that failed may be there too
    assert [json.loads(value) for value in kept] == alerts
    assert {message.key() for message in kept.values()} == {socket.gethostname().encode()}
    assert [dict(message.headers())["event"] for message in kept.values()] == [b"exceeded", b"cleared"]
    # The collector spreads its messages over partitions: they have no order.
    found = {record["timeUnixNano"]: (resource, record) for resource, record in records(kafka.kept(LOGS))}
    for (_, (resource, record)), each, severity in zip(sorted(found.items()), alerts, (13, 9), strict=True):
        assert_is(record, each, resource)
        assert record["eventName"] == f"sockbpf.queue.{each['event']}"
        assert record["severityNumber"] == severity
        assert resource == {
            "host.name": socket.gethostname(), "os.type": "linux", "service.name": "sockbpf",
            "service.version": __version__, "dc": "fra1", "deployment.environment.name": "tests",
        }  # fmt: skip
    assert monitor.stop() == 0
    counters = monitor.counters()
    assert counters["given_up"] == 0
    assert counters["retried"] >= 2


def test_a_broker_that_has_lost_all_gets_what_comes_after(
    tmp_path: Path, start_monitor: StartMonitor, stack: ExitStack
) -> None:
    """It knows nothing of the producer any more, and would refuse it for ever."""
    kafka = broker(tmp_path, stack)
    kafka.start()
    client, reader = tcp_pair(stack)
    start_monitor(
        thresholds=thresholds(THRESHOLD),
        delivery={"timeout": "2s", "retry_first": "100ms", "retry_max": "500ms"},
        destinations=[{"type": "kafka", "brokers": [kafka.address], "topic": TOPIC}],
        rules=only_ours(port(reader), type="RECV"),
    )

    def events() -> list[str]:  # a try that failed may be there too
        return list(dict.fromkeys(json.loads(each.value())["event"] for each in kafka.kept(TOPIC)))

    client.sendall(bytes(UNREAD))
    until(lambda: events() == ["exceeded"], "the beginning")
    kafka.kill()
    kafka.start()
    drain(reader, UNREAD)
    until(lambda: events() == ["cleared"], "the end")
