# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which incident an alert is about, for receivers of which people are called: one name for all queues of a service.

Pure. The name stays the same when a queue crosses again, when another socket of the service is over, and after a
restart of the monitor; both ends of a connection have the same service.
"""

from __future__ import annotations

from hashlib import blake2s
from typing import TYPE_CHECKING

from sockbpf.record.alert import EVENTS, ONGOING, Common
from sockbpf.record.event import Protocol
from sockbpf.record.text import printable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.record.left import Left

MOST_CHARACTERS = 255
"""The longest name of an incident; PagerDuty takes no longer one."""

PORTS = {
    Common.LOCAL_SERVICE.value: ("local_port",),
    Common.REMOTE_SERVICE.value: ("remote_port",),
    Common.PROCESS.value: (),
    Common.USER.value: (),
    Common.RULE.value: (),
}
"""What the sockets of a folded alert have in common -> the ports that name their service."""

BOTH = ("local_port", "remote_port")

OF_OTHERS = ("user", "netns")
"""What else tells incidents apart: a user must not be able to hide another one's incident behind an own one."""


def service_of(fields: Mapping[str, str]) -> str:
    """Return protocol and the lower of the two ports, as clients have high ones; of a rate its counter.

    So both ends of a connection have the same service.
    """
    if "name" in fields:
        return fields["name"]
    names = PORTS.get(fields.get("fold", ""), ("local_port",)) if "count" in fields else BOTH
    ports = [int(fields[name]) for name in names if fields.get(name, "0") != "0"]
    return f"{fields.get('protocol', '')} {min(ports)}".strip() if ports else ""


def incident_of(fields: Mapping[str, str]) -> str:
    """Return the name of the incident: host, service, user and network namespace; empty of what is no episode.

    An alert for several sockets is an incident of its own, by its `id`, which is the same from its beginning to its
    end. So is one without a port.
    """
    if fields["event"] not in EVENTS:
        return ""
    service = "" if "count" in fields else service_of(fields)
    parts = [service, *(fields[name] for name in OF_OTHERS if name in fields)] if service else [fields["id"]]
    name = printable("/".join([fields["host"], *parts]))
    if len(name) <= MOST_CHARACTERS:
        return name
    rest = blake2s(name.encode(), digest_size=8).hexdigest()
    return f"{name[: MOST_CHARACTERS - len(rest) - 1]}/{rest}"


def fields_of(left: Left, host: str) -> dict[str, str]:
    """Return those fields of an episode that an earlier run left open by which its incident is known."""
    fields = {
        "event": ONGOING,
        "id": left.id,
        "host": host,
        "netns": str(left.netns),
        "severity": left.severity,
    }
    if left.counter:
        return fields | {"name": left.counter}
    ports = {"local_port": str(left.local_port), "remote_port": str(left.remote_port)}
    fields |= {"protocol": Protocol(left.protocol).name.lower()} | ports
    return fields | ({"user": left.user} if left.user else {}) | ({"count": "2"} if left.is_fold else {})
