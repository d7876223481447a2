# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Prometheus Alertmanager, by its API v2: an episode is an alert there, from its beginning to its end."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sockbpf.delivery.destinations.http_get import redacted
from sockbpf.delivery.destinations.http_post import HttpPost
from sockbpf.record.alert import CLEARED, EVENTS
from sockbpf.record.fields import FIELDS
from sockbpf.record.text import rfc3339, sentence, without_markup

if TYPE_CHECKING:
    from collections.abc import Mapping

LABELS = tuple(field.name for field in FIELDS if field.label)
"""What stays the same from `exceeded` to `cleared`: labels name the alert, and only its name resolves it. The owner
is none of them, it may become known later."""


def alert_of(fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the alert as the API wants it.

    `endsAt` stands only in what cleared: without it Alertmanager holds the alert for its `resolve_timeout`, 5 minutes
    as it is shipped, from the last word of it; `repeat` should be shorter.
    """
    at = Decimal(fields["timestamp"])
    made: dict[str, Any] = {
        "labels": {"alertname": "SocketQueue"} | {key: fields[key] for key in LABELS if key in fields},
        "annotations": {"summary": sentence(without_markup(fields))}
        | {key: text for key, text in fields.items() if key not in LABELS},
        "startsAt": rfc3339(at - Decimal(fields.get("duration", "0"))),
    }
    if fields["event"] == CLEARED:
        made["endsAt"] = rfc3339(at)
    return made


class Alertmanager:
    """Posts each alert to the Alertmanager at `url`, of which errors show no user and password.

    With `hide_path` they show its host alone.

    Heartbeats are not sent, nor is the `cleared` of a fold: it tells of some of its sockets, the others may still be
    over. A fold is resolved when nothing is said of it any more.
    """

    def __init__(self, *, url: str, timeout_s: float, hide_path: bool = False) -> None:
        whole = url.rstrip("/") + "/api/v2/alerts"
        self._post = HttpPost(whole, timeout_s, shown=redacted(whole, path=not hide_path))

    def send(self, fields: Mapping[str, str]) -> None:
        """Post the alert. Raise TransportError; one that Alertmanager will never take is permanent."""
        is_part = fields["event"] == CLEARED and "count" in fields
        if fields["event"] in EVENTS and not is_part:
            self._post.post([alert_of(fields)])

    def close(self) -> None:
        self._post.close()
