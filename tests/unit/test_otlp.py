# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Alerts as OTLP's log records: what a receiver decodes is the alert, by the names of the semantic conventions."""

from __future__ import annotations

import importlib
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import opentelemetry.semconv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest

from sockbpf import __version__
from sockbpf.delivery.destinations import otlp_post
from sockbpf.delivery.destinations.otlp import Otlp
from sockbpf.delivery.destinations.otlp_names import ELSEWHERE, NAMES, SCHEMA, STATES, unix_ns
from sockbpf.delivery.destinations.otlp_wire import logs_request
from sockbpf.delivery.transport import UnusableError
from sockbpf.record import facts
from sockbpf.record.fields import BY_NAME
from sockbpf.settings.destinations import OtlpSettings
from tests.unit.otlp_receiver import PROTOBUF, attributes, receiver
from tests.unit.told_alerts import HEARTBEAT, TOLD, told

TRANSLATED = {
    "network.transport": "tcp", "network.type": "ipv4", "network.io.direction": "receive",
    "network.local.address": "10.0.0.1", "network.local.port": 443, "network.peer.address": "::1",
    "network.peer.port": 40000, "process.pid": 4711, "process.executable.name": "nginx", "user.name": "www-data",
    "service.name": "nginx.service",
    "sockbpf.event": "exceeded", "sockbpf.type": "RECV", "sockbpf.condition": "size", "sockbpf.severity": "warning",
    "sockbpf.size": 9007, "sockbpf.threshold": 8009, "sockbpf.peak": 9011, "sockbpf.duration": 0.0,
    "sockbpf.id": "e1", "sockbpf.seq": 7, "sockbpf.netns": 4026531840, "sockbpf.mode": "ebpf",
    "sockbpf.cause": "reader-stopped", "sockbpf.confidence": "high", "sockbpf.run": "r1",
    "sockbpf.reason": "the reader is stopped: nginx (pid 4711), state T",
}  # fmt: skip


def destination(url: str, **keys: Any) -> Otlp:
    return Otlp(OtlpSettings.model_validate({"url": url, **keys}))


def decoded(*alerts: dict[str, str]) -> Any:
    return ExportLogsServiceRequest.FromString(logs_request(alerts, {}, 1))


def record(alert: dict[str, str]) -> Any:
    (of_host,) = decoded(alert).resource_logs
    return of_host.scope_logs[0].log_records[0]


def test_a_receiver_has_the_alert() -> None:
    begun_ns = time.time_ns()
    with receiver() as received, closing(destination(received.url, headers={"X-Team": "net"})) as its:
        assert its.send_all([TOLD, HEARTBEAT]) == {}
    assert received.paths == ["/v1/logs"]
    (headers,) = received.headers
    assert (headers["Content-Type"], headers["Content-Encoding"]) == (PROTOBUF, "gzip")
    assert (headers["X-Team"], headers["User-Agent"]) == ("net", f"sockbpf/{__version__}")
    (of_host,) = received.messages[0].resource_logs
    assert attributes(of_host.resource.attributes) == {
        "host.name": "web1", "os.type": "linux", "service.name": "sockbpf", "service.version": __version__,
    }  # fmt: skip
    (scope,) = of_host.scope_logs
    assert (scope.scope.name, scope.scope.version) == ("sockbpf", __version__)
    assert {of_host.schema_url, scope.schema_url} == {SCHEMA}
    alert, heartbeat = scope.log_records
    assert alert.time_unix_nano == 1795343123482913000
    assert begun_ns <= alert.observed_time_unix_nano <= time.time_ns()
    assert (alert.event_name, alert.severity_number, alert.severity_text) == (
        "sockbpf.queue.exceeded", 13, "warning",
    )  # fmt: skip
    assert alert.body.string_value == TOLD["reason"]
    found = attributes(alert.attributes)
    assert found == TRANSLATED
    assert {name: type(value) for name, value in found.items()} == {
        name: type(value) for name, value in TRANSLATED.items()
    }
    assert heartbeat.event_name == "sockbpf.heartbeat"
    assert (heartbeat.severity_number, heartbeat.body.string_value) == (9, "heartbeat, last alert 7")
    assert attributes(heartbeat.attributes)["sockbpf.oldest_undelivered_seconds"] == 0.5
    assert attributes(heartbeat.attributes)["sockbpf.version"] == "1.10"


def test_what_the_settings_say_of_the_resource_comes_first() -> None:
    given_ = {"deployment.environment.name": "prod", "service.name": "queues"}
    with (
        receiver() as received,
        closing(destination(received.url, resource=given_, compression="none")) as its,
    ):
        its.send_all([TOLD])
    assert "Content-Encoding" not in received.headers[0]
    assert attributes(received.messages[0].resource_logs[0].resource.attributes) == {
        "host.name": "web1", "os.type": "linux", "service.name": "queues", "service.version": __version__,
        "deployment.environment.name": "prod",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("fields", "number", "text"),
    [
        ({"severity": "critical"}, 18, "critical"),
        ({"severity": "critical", "event": "ongoing"}, 18, "critical"),
        ({"severity": "critical", "event": "cleared"}, 9, "info"),
        ({"severity": "warning", "event": "started"}, 9, "info"),
    ],
)
def test_severity(fields: dict[str, str], number: int, text: str) -> None:
    made = record(told(**fields))
    assert (made.severity_number, made.severity_text) == (number, text)


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"type": "ACCEPT"}, "sockbpf.queue.exceeded"),
        ({"type": "RATE", "name": "UdpRcvbufErrors"}, "sockbpf.counter.exceeded"),
        ({"event": "stopped"}, "sockbpf.stopped"),
    ],
)
def test_the_name_of_the_event(fields: dict[str, str], name: str) -> None:
    assert record(told(**fields)).event_name == name


def test_of_a_socket_that_is_not_connected_there_is_no_other_end() -> None:
    found = attributes(record(told(local_ip="::ffff:10.0.0.1", remote_ip="::", remote_port="0")).attributes)
    assert not {name for name in found if name.startswith("network.peer.")}
    assert found["network.type"] == "ipv4"
    assert attributes(record(told(local_ip="fe80::1")).attributes)["network.type"] == "ipv6"


def test_without_a_reason_the_body_is_the_alert_in_words() -> None:
    alert = told()
    del alert["reason"]
    assert record(alert).body.string_value == (
        "RECV queue of tcp 10.0.0.1:443 to [::1]:40000 holds 9007 bytes, over 8009 (nginx, pid 4711)"
    )


def test_each_host_has_its_own_resource_and_keeps_its_order() -> None:
    """A journal may hold alerts from before the host was named anew."""
    alerts = [told(seq="1"), told(seq="2", host="old"), told(seq="3"), told(seq="4", host="old")]
    assert [
        (
            attributes(of_host.resource.attributes)["host.name"],
            [attributes(made.attributes)["sockbpf.seq"] for made in of_host.scope_logs[0].log_records],
        )
        for of_host in decoded(*alerts).resource_logs
    ] == [("web1", [1, 3]), ("old", [2, 4])]


def registry() -> dict[str, set[str]]:
    """Return every attribute that the semantic conventions have, and the values of those that have a list."""
    found: dict[str, set[str]] = {}
    (root,) = map(Path, opentelemetry.semconv.__path__)
    for file in root.rglob("*_attributes.py"):
        module = ".".join(file.relative_to(root).with_suffix("").parts)
        made = vars(importlib.import_module(f"opentelemetry.semconv.{module}"))
        for name, value in made.items():
            if name.isupper() and isinstance(value, str):
                choices = made.get(f"{name.title().replace('_', '')}Values", ())
                found.setdefault(value, set()).update(each.value for each in choices)
    return found


def test_names_are_those_of_the_conventions() -> None:
    known = registry()
    used = {
        name for name in (*TRANSLATED, *NAMES.values(), "host.name", "os.type", "service.version")
        if not name.startswith("sockbpf.")
    }  # fmt: skip
    assert len(used) > 15
    assert used <= known.keys()
    assert set(STATES.values()) == known["network.connection.state"]
    assert set(STATES) == set(facts.STATES.values())
    assert {"transmit", "receive"} == known["network.io.direction"]
    assert {"ipv4", "ipv6"} <= known["network.type"]
    assert NAMES.keys() | ELSEWHERE <= BY_NAME.keys()
    from opentelemetry.semconv.schemas import Schemas

    assert SCHEMA in {each.value for each in Schemas}


@given(st.integers(0, 2**63 // 1000 - 1))
def test_instants_are_exact(us: int) -> None:
    assert unix_ns(f"{us // 10**6}.{us % 10**6:06d}") == us * 1000


@pytest.mark.parametrize("text", ["", "x", "-1.0", "1e9", "nan", "9" * 30, "1.²"])
def test_what_is_no_instant_is_unknown(text: str) -> None:
    assert unix_ns(text) == 0


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(sorted(BY_NAME)), st.text(max_size=40)))
def test_whatever_the_fields_hold_it_is_a_message(fields: dict[str, str]) -> None:
    made = record(TOLD | fields)
    assert len(attributes(made.attributes)) >= len(TOLD) - len(ELSEWHERE) - 2


def test_without_its_packages_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "sockbpf.delivery.destinations.otlp_wire"
    monkeypatch.delitem(sys.modules, name)
    monkeypatch.delattr("sockbpf.delivery.destinations.otlp_wire")
    monkeypatch.setitem(sys.modules, "google.protobuf.message", None)
    with pytest.raises(UnusableError, match=r"pip install 'sockbpf\[otlp\]'"):
        otlp_post.wire()
