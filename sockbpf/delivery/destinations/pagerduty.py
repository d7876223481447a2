# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""PagerDuty, by its Events API v2: an incident is triggered as it begins, and resolved once nothing of it is over."""

from __future__ import annotations

import time
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sockbpf.delivery.destinations.http_get import redacted
from sockbpf.delivery.destinations.http_post import HttpPost
from sockbpf.delivery.destinations.open_incidents import open_at
from sockbpf.delivery.destinations.values import cut, values_of
from sockbpf.record.alert import CLEARED, EVENTS, EXCEEDED
from sockbpf.record.facts import Severity
from sockbpf.record.incident import service_of
from sockbpf.record.text import printable, rfc3339, sentence
from sockbpf.settings.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.delivery.destinations.open_incidents import Standing
    from sockbpf.settings.destinations import PagerDutySettings

MOST_OF_SUMMARY = 1024
"""The longest summary that the API takes, in characters."""

GROUPS = ("unit", "container_name", "container", "comm")
"""Fields of which the first that is known is the group."""


def summary_of(fields: Mapping[str, str]) -> str:
    """Return what is read first, on a phone: why, where that is known; then what is over, and on which host."""
    numbers = sentence({name: text for name, text in fields.items() if name != "reason"})
    parts = [printable(fields["reason"])] if "reason" in fields else []
    return cut(". ".join([*parts, f"{numbers}, on {printable(fields['host'])}"]), MOST_OF_SUMMARY)


def payload_of(fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the alert in PagerDuty's Common Event Format; all of its fields are details."""
    made = {
        "summary": summary_of(fields),
        "source": printable(fields["host"]),
        "severity": fields.get("severity", Severity.WARNING.value),
        "timestamp": rfc3339(Decimal(fields["timestamp"])),
        "component": printable(service_of(fields)),
        "group": next((printable(fields[name]) for name in GROUPS if name in fields), ""),
        "class": fields.get("condition", ""),
        "custom_details": values_of(fields),
    }
    return {name: value for name, value in made.items() if value}


class PagerDuty:
    """Sends to the API at `url`, as the integration of this `routing_key`, a secret. No heartbeats are sent."""

    def __init__(self, settings: PagerDutySettings) -> None:
        url, self._key = str(settings.url), str(settings.routing_key)
        self._post = HttpPost(
            url, settings.timeout, shown=redacted(url, path=not isinstance(settings.url, Secret))
        )
        self._open = open_at(f"pagerduty {settings.name} {url} {self._key}")

    def send(self, fields: Mapping[str, str]) -> None:
        """Send what is news of the incident. Raise TransportError, a permanent one if the API refuses the event."""
        if fields["event"] not in EVENTS:
            return
        standing = self._open.standing(fields)
        if action := _action(fields["event"], standing):
            event: dict[str, Any] = {
                "routing_key": self._key,
                "event_action": action,
                "dedup_key": standing.incident,
            }
            if action == "trigger":
                event |= {"client": "sockbpf", "payload": payload_of(fields)}
            self._post.post(event)
        self._open.told(fields, standing.incident, time.monotonic())

    def close(self) -> None:
        self._post.close()


def _action(event: str, standing: Standing) -> str:
    """Return what is asked of PagerDuty; empty if the alert is no news there.

    A queue that goes over is: a trigger more for an incident that is open is added to it. That one stays over is not.
    """
    if event == CLEARED:
        return "" if standing.others else "resolve"
    return "trigger" if event == EXCEEDED or not standing.is_known else ""
