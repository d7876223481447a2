# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""An alert in the terms of OpenTelemetry: name of the event, severity, attributes by its semantic conventions. Pure.

What the conventions have no name for is `sockbpf.` and the field's own name.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from sockbpf.delivery.destinations.values import cut, value_of
from sockbpf.record.alert import CLEARED, EVENTS
from sockbpf.record.event import Direction
from sockbpf.record.facts import Severity
from sockbpf.record.field import Kind
from sockbpf.record.fields import BY_NAME
from sockbpf.record.text import sentence

if TYPE_CHECKING:
    from collections.abc import Mapping

    Attribute = str | int | float

SCHEMA = "https://opentelemetry.io/schemas/1.44.0"
"""The version of the semantic conventions that has these names."""

NAMES = {
    "protocol": "network.transport",
    "local_ip": "network.local.address",
    "local_port": "network.local.port",
    "remote_ip": "network.peer.address",
    "remote_port": "network.peer.port",
    "state": "network.connection.state",
    "pid": "process.pid",
    "comm": "process.executable.name",
    "cmdline": "process.command_line",
    "cgroup": "process.linux.cgroup",
    "user": "user.name",
    "unit": "service.name",
    "container": "container.id",
    "container_name": "container.name",
}
"""Field -> its name in the conventions."""

ELSEWHERE = frozenset({"host", "timestamp"})
"""Fields that are no attributes: the resource has the host, the record its time."""

IO_DIRECTIONS = {Direction.SEND.name: "transmit", Direction.RECV.name: "receive"}

STATES = {
    "ESTAB": "established", "SYN-SENT": "syn_sent", "SYN-RECV": "syn_received", "FIN-WAIT-1": "fin_wait_1",
    "FIN-WAIT-2": "fin_wait_2", "TIME-WAIT": "time_wait", "UNCONN": "closed", "CLOSE-WAIT": "close_wait",
    "LAST-ACK": "last_ack", "LISTEN": "listen", "CLOSING": "closing",
}  # fmt: skip
"""The state as `ss` spells it -> as the conventions do."""

INFO, WARN, ERROR2 = 9, 13, 18
SEVERITIES = {Severity.WARNING.value: WARN, Severity.CRITICAL.value: ERROR2}
"""Numbers of the log data model, which has syslog's Critical as ERROR2."""

SECONDS = frozenset(name for name, field in BY_NAME.items() if field.kind is Kind.SECONDS)

LARGEST = 2**63 - 1


def event_name(fields: Mapping[str, str]) -> str:
    """Return what kind of record it is: one kind has one set of attributes."""
    about = "counter." if "name" in fields else "queue."
    return f"sockbpf.{about if fields['event'] in EVENTS else ''}{fields['event']}"


def severity(fields: Mapping[str, str]) -> tuple[int, str]:
    """Return the severity's number and text; what is over again, or about the monitor itself, is no trouble."""
    if fields["event"] in EVENTS and fields["event"] != CLEARED and fields.get("severity") in SEVERITIES:
        return SEVERITIES[fields["severity"]], fields["severity"]
    return INFO, "info"


def body(fields: Mapping[str, str]) -> str:
    """Return why it is over, where that is known; else the alert in words."""
    return str(value_of("reason", fields["reason"])) if "reason" in fields else cut(sentence(fields))


def unix_ns(timestamp: str) -> int:
    """Return Unix time in seconds with up to nine decimals as nanoseconds, exactly; 0, unknown, if it is none."""
    whole, _, part = timestamp.partition(".")
    digits = f"{whole}{part[:9]:0<9}"
    return ns if digits.isascii() and digits.isdecimal() and (ns := int(digits)) <= LARGEST else 0


def attributes(fields: Mapping[str, str]) -> dict[str, Attribute]:
    """Return the attributes of an alert, numbers as numbers. An end that is not connected has no address."""
    left_out = ELSEWHERE | ({"remote_ip", "remote_port"} if fields.get("remote_port") == "0" else set())
    found = {
        NAMES.get(name, f"sockbpf.{name}"): STATES.get(text, text) if name == "state" else _typed(name, text)
        for name, text in fields.items()
        if name not in left_out
    }
    if fields.get("type") in IO_DIRECTIONS:
        found["network.io.direction"] = IO_DIRECTIONS[fields["type"]]
    if kind := _network_type(fields.get("local_ip") or fields.get("remote_ip", "")):
        found["network.type"] = kind
    return found


def _typed(name: str, text: str) -> Attribute:
    """Return the value, of one name always of one type, as stores with a column for each name need it."""
    value = value_of(name, text)
    if isinstance(value, int):
        of_seconds = name in SECONDS or name.endswith("_seconds")
        return float(value) if of_seconds else value if abs(value) <= LARGEST else text
    return value


def _network_type(text: str) -> str:
    """Return what is on the wire: of a v4-mapped address IPv4; empty if it is no address."""
    try:
        address = ip_address(text)
    except ValueError:
        return ""
    return "ipv4" if address.version == 4 or address.ipv4_mapped else "ipv6"  # noqa: PLR2004
