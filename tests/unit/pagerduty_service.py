# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""PagerDuty's Events API v2 as its documentation has it: what is refused, and what becomes of events that are not.

An event with a `dedup_key` of an open alert is applied to that alert; a trigger with another one opens an alert. A
resolve of what is not open is dropped.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tests.unit.told_alerts import Answered, Posts, posted

KEY = "R0ut1ngKeyOf32LettersAndDigits00"
MOST_BYTES = 512 * 1024
ACTIONS = ("trigger", "acknowledge", "resolve")
SEVERITIES = ("critical", "error", "warning", "info")
TEXTS = ("component", "group", "class")


@dataclass
class Service:
    """What a service of PagerDuty holds."""

    posts: Posts = field(default_factory=Posts)
    open: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Key of an open alert -> the payloads of its triggers."""
    opened: int = 0
    """How many alerts were opened: so often somebody was called."""
    resolved: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    answers: list[Answered] = field(default_factory=list)
    """Given before any event is taken, each once."""

    def answer(self, raw: bytes) -> Answered:
        if self.answers:
            return self.answers.pop(0)
        if len(raw) > MOST_BYTES:
            return Answered(413)
        event = json.loads(raw)
        if faults := list(faults_of(event)):
            self.refused += faults
            return Answered(400)
        self._take(event)
        return Answered(202)

    def _take(self, event: dict[str, Any]) -> None:
        key = event["dedup_key"]
        if event["event_action"] == "trigger":
            self.opened += key not in self.open
            self.open.setdefault(key, []).append(event["payload"])
        elif event["event_action"] == "resolve" and self.open.pop(key, None):
            self.resolved.append(key)


def faults_of(event: Any) -> Iterator[str]:
    """Yield what of an event the documentation does not allow."""
    if event.get("routing_key") != KEY:
        yield "routing_key"
    if event.get("event_action") not in ACTIONS:
        yield "event_action"
    key = event.get("dedup_key")
    if not isinstance(key, str) or not 0 < len(key) <= 255:
        yield "dedup_key"
    if event.get("event_action") != "trigger":
        return
    payload = event.get("payload", {})
    summary, source = payload.get("summary"), payload.get("source")
    if not isinstance(summary, str) or not 0 < len(summary) <= 1024:
        yield "summary"
    if not isinstance(source, str) or not source:
        yield "source"
    if payload.get("severity") not in SEVERITIES:
        yield "severity"
    yield from (name for name in TEXTS if not isinstance(payload.get(name, ""), str))
    if not isinstance(payload.get("custom_details", {}), dict):
        yield "custom_details"
    datetime.fromisoformat(payload["timestamp"].replace("Z", "+00:00"))


@contextmanager
def pagerduty() -> Iterator[Service]:
    """Run a service whose integration key is KEY."""
    service = Service()
    with posted(service.answer) as service.posts:
        yield service
