# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A server that takes what OTLP posts, decodes it by the protocol's own messages, and answers as it is told to."""

from __future__ import annotations

import gzip
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from tests.unit.http_servers import body_of, http_server, say

PROTOBUF = "application/x-protobuf"
MESSAGES: dict[str, Any] = {"/v1/logs": ExportLogsServiceRequest, "/v1/metrics": ExportMetricsServiceRequest}


@dataclass
class Answered:
    """What the server answers; without a `kind` it does not say what the body is."""

    status: int = 200
    body: bytes = b""
    kind: str = PROTOBUF
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Received:
    """What was posted: of each request its path, its headers and its message."""

    url: str = ""
    paths: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    messages: list[Any] = field(default_factory=list)

    def records(self) -> list[Any]:
        """Return the log records of all requests in their order."""
        return [
            record
            for message in self.messages
            for of_host in message.resource_logs
            for scope in of_host.scope_logs
            for record in scope.log_records
        ]


@contextmanager
def receiver(answer: Callable[[int], Answered] = lambda _: Answered()) -> Iterator[Received]:
    """Run the server; `answer` is called with the number of each request, from 0."""
    made = Received()

    def receive(handler: BaseHTTPRequestHandler) -> None:
        raw = body_of(handler)
        number = len(made.paths)
        made.paths.append(handler.path)
        made.headers.append(dict(handler.headers))
        if handler.headers["Content-Encoding"] == "gzip":
            raw = gzip.decompress(raw)
        made.messages.append(MESSAGES[handler.path.removeprefix("/moved")].FromString(raw))
        said = answer(number)
        kind = {"Content-Type": said.kind} if said.kind else {}
        say(said.status, said.body, **kind, **said.headers)(handler)

    with http_server(receive) as served:
        made.url = f"http://127.0.0.1:{served.port}"
        yield made


def rejected(number: int, message: str) -> Answered:
    """Return an answer that takes all but so many records."""
    answer = ExportLogsServiceResponse()
    answer.partial_success.rejected_log_records = number
    answer.partial_success.error_message = message
    return Answered(body=answer.SerializeToString())


def attributes(of: Iterable[KeyValue]) -> dict[str, Any]:
    """Return attributes by name, each with the type that it was sent with; fail if one comes twice."""
    found = {each.key: getattr(each.value, each.value.WhichOneof("value") or "") for each in of}
    assert len(found) == len(list(of))
    return found
