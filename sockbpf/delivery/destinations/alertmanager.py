# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Prometheus Alertmanager, by its API v2: an episode is an alert there, from its beginning to its end."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sockbpf.delivery.destinations.http_get import redacted
from sockbpf.delivery.destinations.http_post import HttpPost
from sockbpf.record.alert import CLEARED, EVENTS, Common
from sockbpf.record.fields import FIELDS
from sockbpf.record.text import rfc3339, sentence, without_markup

if TYPE_CHECKING:
    from collections.abc import Mapping

LABELS = tuple(field.name for field in FIELDS if field.label)
"""The fields that stay the same from `exceeded` to `cleared`: by its labels Alertmanager knows an alert again, to
resolve it. The owner is not among them, since it may become known during the episode."""

OF_ONE = {"local_ip", "local_port", "remote_ip", "remote_port", "netns"}
"""Labels that name one socket. A folded alert may have them or not, as its sockets share them at that moment, but for
those that are what its sockets have in common."""

IN_COMMON = {
    Common.REMOTE_SERVICE.value: {"remote_ip", "remote_port"},
    Common.PROCESS.value: set[str](),
    Common.USER.value: set[str](),
    Common.RULE.value: set[str](),
}


def labels_of(fields: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of an alert, which are the same in all alerts of its episode."""
    varying = OF_ONE - IN_COMMON.get(fields.get("fold", ""), {"local_port"}) if "count" in fields else set()
    return {key: fields[key] for key in LABELS if key in fields and key not in varying}


NAMES = {"RATE": "HostCounter"}
"""Type -> what `alertname` is where it is not SocketQueue."""


def alert_of(fields: Mapping[str, str]) -> dict[str, Any]:
    """Return the alert in the form of the API.

    Only `cleared` has `endsAt`. Without it Alertmanager resolves the alert itself when it was not posted again for
    `resolve_timeout`, 5 minutes by default; `repeat` should be shorter.
    """
    at = Decimal(fields["timestamp"])
    labels = labels_of(fields)
    posted: dict[str, Any] = {
        "labels": {"alertname": NAMES.get(fields.get("type", ""), "SocketQueue")} | labels,
        "annotations": {"summary": sentence(without_markup(fields))}
        | {key: text for key, text in fields.items() if key not in labels},
        "startsAt": rfc3339(at - Decimal(fields.get("duration", "0"))),
    }
    if fields["event"] == CLEARED:
        posted["endsAt"] = rfc3339(at)
    return posted


class Alertmanager:
    """Posts each alert to the Alertmanager at `url`.

    Errors show the url without user and password, with `hide_path` its host alone.

    Heartbeats are not posted.
    """

    def __init__(self, *, url: str, timeout_s: float, hide_path: bool = False) -> None:
        whole = url.rstrip("/") + "/api/v2/alerts"
        self._post = HttpPost(whole, timeout_s, shown=redacted(whole, path=not hide_path))

    def send(self, fields: Mapping[str, str]) -> None:
        """Post the alert. Raise TransportError, a permanent one if Alertmanager will never take the alert."""
        if fields["event"] in EVENTS:
            self._post.post([alert_of(fields)])

    def close(self) -> None:
        self._post.close()
