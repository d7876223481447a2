# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Prometheus Alertmanager, by its API v2: what is over, by few labels, from its beginning to its end."""

from __future__ import annotations

import time
from collections import OrderedDict
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from sockbpf.delivery.destinations.http_get import redacted
from sockbpf.delivery.destinations.http_post import HttpPost
from sockbpf.delivery.destinations.label_sets import LabelSets
from sockbpf.record.alert import CLEARED, EVENTS
from sockbpf.record.facts import Condition
from sockbpf.record.incident import service_of
from sockbpf.record.text import printable, rfc3339, sentence, without_markup

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sockbpf.record.left import Left

NAMES = {
    Condition.SIZE.value: "SocketQueueLarge",
    Condition.FILL.value: "SocketBufferFilled",
    Condition.STALLED.value: "SocketQueueStalled",
    Condition.ACCEPT.value: "AcceptQueueFilled",
    Condition.RATE.value: "HostCounterRising",
}
"""Condition -> what `alertname` is; of an alert without one, which an earlier version made, SocketQueue."""

MOST_PLACES = 16
"""Alertmanagers of which is remembered what is open there, over changes of the settings too."""

_open_at: OrderedDict[str, LabelSets] = OrderedDict()
_earlier: dict[str, Mapping[str, str]] = {}
"""Id of what an earlier run of the monitor left open -> the fields with which it began, which make its labels."""


def take_over(lefts: Iterable[Left]) -> None:
    """Go on with what an earlier run of the monitor left open, by the labels that it began with."""
    if _open_at:
        _earlier.update({left.id: left.first_fields() for left in lefts if left.first})


def labels_of(fields: Mapping[str, str], static: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of an alert, by which Alertmanager knows it again: few, and none of one socket alone.

    `static` ones are those of the settings.
    """
    labels = {
        "alertname": NAMES.get(fields.get("condition", ""), "SocketQueue"),
        "severity": fields.get("severity", ""),
        "instance": fields["host"],
        "service": service_of(fields),
        "direction": fields.get("type", ""),
    }
    whose = "unit" if "unit" in fields else "comm"
    labels[whose] = fields.get(whose, "")
    return {name: printable(text) for name, text in (labels | dict(static)).items() if text}


def alert_of(
    fields: Mapping[str, str],
    static: Mapping[str, str] | None = None,
    first: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Return the alert in the form of the API; all fields are annotations, labels are of `first`, if that is there.

    Only `cleared` has `endsAt`. Without it Alertmanager resolves the alert itself when it was not posted again for
    `resolve_timeout`, 5 minutes by default; `repeat` should be shorter.
    """
    at = Decimal(fields["timestamp"])
    posted: dict[str, Any] = {
        "labels": labels_of(first or fields, static or {}),
        "annotations": {"summary": sentence(without_markup(fields))} | dict(fields),
        "startsAt": rfc3339(at - Decimal(fields.get("duration", "0"))),
    }
    if fields["event"] == CLEARED:
        posted["endsAt"] = rfc3339(at)
    return posted


class Alertmanager:
    """Posts each alert to the Alertmanager at `url`, with these labels beside its own.

    Errors show the url without user and password, with `hide_path` its host alone. Heartbeats are not posted.
    """

    def __init__(
        self,
        *,
        url: str,
        timeout_s: float,
        labels: Mapping[str, str] | None = None,
        hide_path: bool = False,
    ) -> None:
        whole = url.rstrip("/") + "/api/v2/alerts"
        self._post = HttpPost(whole, timeout_s, shown=redacted(whole, path=not hide_path))
        self._static = labels or {}
        self._open = _open_at.setdefault(whole, LabelSets())
        _open_at.move_to_end(whole)
        while len(_open_at) > MOST_PLACES:
            _open_at.popitem(last=False)

    def send(self, fields: Mapping[str, str]) -> None:
        """Post the alert. Raise TransportError, a permanent one if Alertmanager will never take the alert."""
        if fields["event"] in EVENTS:
            alert = alert_of(fields, self._static, _earlier.get(fields["id"]))
            self._post.post([self._open.merged(fields["id"], alert)])
            self._open.posted(fields["id"], alert, time.monotonic())

    def close(self) -> None:
        self._post.close()
