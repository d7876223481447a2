# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A receiver that holds the documented rules of Splunk's HTTP event collector, which cannot be had here.

Its answers are those of Splunk's table of codes; it reads events one after the other, keeps those before one that it
refuses, and says of an acknowledgement once that it is true.
"""

from __future__ import annotations

import gzip
import json
import ssl
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.unit.http_servers import body_of, http_server, say

TOKEN = "0f1b6c9e-s3cret-4c52"
EVENT, ACK = "/services/collector/event", "/services/collector/ack"


class RefusedError(Exception):
    """A request is answered by a code of the table; `place` is that of the event that is at fault."""

    def __init__(self, status: int, code: int, text: str, place: int | None = None) -> None:
        super().__init__(text)
        self.status = status
        self.said: dict[str, Any] = {"text": text, "code": code}
        if place is not None:
            # Of an index the number is one more, in Splunk 10 too.
            self.said["invalid-event-number"] = place + (code == 7)


def decoded(body: str) -> Iterator[Any]:
    """Yield values of JSON that follow one another."""
    decoder, at = json.JSONDecoder(), 0
    while at < len(body):
        value, at = decoder.raw_decode(body, at)
        yield value
        at += len(body[at:]) - len(body[at:].lstrip())


@dataclass
class Collector:
    """What it has kept, and how it behaves: `busy` and `faulty` are asked of each request and each event."""

    url: str = ""
    acknowledges: bool = False
    indexes: frozenset[str] = frozenset({"main", "network"})
    busy: Callable[[], RefusedError | None] = lambda: None
    faulty: Callable[[Any], RefusedError | None] = lambda _: None
    answers_to_acks: Callable[[int], bool] = lambda _: True
    """Whether what an acknowledgement stands for is indexed by now."""
    headers: list[dict[str, str]] = field(default_factory=list)
    batches: list[list[Any]] = field(default_factory=list)
    """What each request has left here: also one that was refused, of the events before the refused one."""
    questions: list[int] = field(default_factory=list)
    acks: int = 0
    open_acks: set[tuple[str, int]] = field(default_factory=set)
    """By channel and number; one that was said to be true is forgotten."""

    def events(self) -> list[Any]:
        return [event for batch in self.batches for event in batch]

    def alerts(self) -> list[dict[str, Any]]:
        return [each["event"] for each in self.events()]

    def seqs(self) -> list[int]:
        return [each["seq"] for each in self.alerts()]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        raw = body_of(handler)
        self.headers.append(dict(handler.headers))
        try:
            said = self._taken(handler, raw)
        except RefusedError as refused:
            status, said = refused.status, refused.said
        else:
            status = 200
        say(status, json.dumps(said).encode(), Content_Type="application/json; charset=UTF-8")(handler)

    def _taken(self, handler: BaseHTTPRequestHandler, raw: bytes) -> dict[str, Any]:
        scheme, _, token = handler.headers.get("Authorization", "").partition(" ")
        if not scheme:
            raise RefusedError(401, 2, "Token is required")
        if scheme != "Splunk":
            raise RefusedError(401, 3, "Invalid authorization")
        if token != TOKEN:
            raise RefusedError(403, 4, "Invalid token")
        if refused := self.busy():
            raise refused
        body = gzip.decompress(raw) if handler.headers["Content-Encoding"] == "gzip" else raw
        channel = handler.headers.get("X-Splunk-Request-Channel", "")
        if handler.path == ACK:
            return self._asked(channel, json.loads(body)["acks"])
        assert handler.path == EVENT
        if self.acknowledges and not channel:
            raise RefusedError(400, 10, "Data channel is missing")
        if channel:
            uuid.UUID(channel)
        self._keep(body.decode())
        if not self.acknowledges:
            return {"text": "Success", "code": 0}
        ack = self.acks
        self.acks += 1
        self.open_acks.add((channel, ack))
        return {"text": "Success", "code": 0, "ackId": ack}

    def _keep(self, body: str) -> None:
        if not body.strip():
            raise RefusedError(400, 5, "No data")
        kept: list[Any] = []
        self.batches.append(kept)
        for place, event in enumerate(decoded(body)):
            if "event" not in event:
                raise RefusedError(400, 12, "Event field is required", place)
            if not event["event"]:
                raise RefusedError(400, 13, "Event field cannot be blank", place)
            if not isinstance(event["time"], (int, float)):
                raise RefusedError(400, 15, "Error in handling indexed fields", place)
            if event.get("index", "main") not in self.indexes:
                raise RefusedError(400, 7, "Incorrect index", place)
            if refused := self.faulty(event):
                refused.said["invalid-event-number"] = place
                raise refused
            kept.append(event)

    def _asked(self, channel: str, acks: list[int]) -> dict[str, Any]:
        if not self.acknowledges:
            raise RefusedError(400, 14, "ACK is disabled")
        said = {}
        for ack in acks:
            self.questions.append(ack)
            known = (channel, ack) in self.open_acks
            said[str(ack)] = known and self.answers_to_acks(ack)
            if said[str(ack)]:
                self.open_acks.remove((channel, ack))
        return {"acks": said}


@contextmanager
def collector(tls: ssl.SSLContext | None = None, **how: Any) -> Iterator[Collector]:
    """Run the receiver."""
    made = Collector(**how)
    with http_server(made.answer, tls=tls) as served:
        made.url = f"{served.scheme}://127.0.0.1:{served.port}"
        yield made
