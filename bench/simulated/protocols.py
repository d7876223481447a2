# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The protocols by which a host tells alerts: the request for some, and what an answer to it means."""

from __future__ import annotations

import gzip
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from bench.simulated.wire import Answer
from sockbpf.delivery.destinations import otlp_post, otlp_wire
from sockbpf.delivery.destinations import store as batches
from sockbpf.delivery.destinations.http_get import PERMANENT
from sockbpf.delivery.destinations.http_post import gzipped
from sockbpf.delivery.destinations.otlp import Otlp
from sockbpf.delivery.owed import Owed
from sockbpf.delivery.transport import TransportError


@dataclass(frozen=True)
class Protocol:
    """One of a monitor's destinations."""

    name: str
    most: int
    """Alerts of one request."""
    wait_s: float
    """So long a batch waits for more."""
    request: Callable[[str, Sequence[Owed]], bytes]
    """Makes of a url and alerts a request."""
    refused: Callable[[Answer, int], int]
    """Says how many of so many alerts an answer refuses for good; raises TransportError if the request failed."""


def _get(url: str, alerts: Sequence[Owed]) -> bytes:
    (owed,) = alerts
    at = urlsplit(url)
    return f"GET /alert?{urlencode(owed.fields)} HTTP/1.1\r\nHost: {at.netloc}\r\n\r\n".encode()


def _post(url: str, path: str, headers: dict[str, str], body: bytes) -> bytes:
    at = urlsplit(url)
    about = {"Host": at.netloc, "Content-Length": str(len(body)), **headers}
    lines = "\r\n".join(f"{name}: {value}" for name, value in about.items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n\r\n".encode() + body


def _batch(url: str, alerts: Sequence[Owed]) -> bytes:
    body = "\n".join(owed.body for owed in alerts).encode()
    return _post(url, "/alerts", batches.HEADERS, gzipped(body))


def _otlp(url: str, alerts: Sequence[Owed]) -> bytes:
    message = otlp_wire.logs_request([owed.fields for owed in alerts], {}, time.time_ns())
    headers = {"Content-Type": otlp_wire.PROTOBUF, "Content-Encoding": "gzip"}
    return _post(url, "/v1/logs", headers, gzip.compress(message, 6))


def _check(answer: Answer, *, permanent: bool) -> None:
    if not 200 <= answer.status < 300:
        raise TransportError(
            f"answered {answer.status}", permanent=permanent, retry_after_s=answer.retry_after_s
        )


def _refused_get(answer: Answer, _: int) -> int:
    _check(answer, permanent=answer.status in PERMANENT)
    return 0


def _refused_rows(answer: Answer, number: int) -> int:
    _check(answer, permanent=answer.status in PERMANENT | batches.OF_CONTENT)
    said = json.loads(answer.body)
    refused = len(said["refused"])
    if said["new"] + said["known"] + refused != number:
        raise TransportError("answered for another number of alerts")
    return refused


def _refused_records(answer: Answer, _: int) -> int:
    _check(answer, permanent=answer.status not in otlp_post.RETRIED)
    return otlp_wire.partial_success(otlp_wire.PROTOBUF, answer.body)[0]


GET = Protocol("GET", 1, 0.0, _get, _refused_get)
BATCHES = Protocol("batches", batches.Store.most, batches.Store.wait_s, _batch, _refused_rows)
OTLP = Protocol("OTLP", Otlp.most, Otlp.wait_s, _otlp, _refused_records)
