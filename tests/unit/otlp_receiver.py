# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A server that takes what OTLP posts, decodes it by the protocol's own messages, and answers as it is told to."""

from __future__ import annotations

import gzip
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

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

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            number = len(made.paths)
            made.paths.append(self.path)
            made.headers.append(dict(self.headers))
            if self.headers["Content-Encoding"] == "gzip":
                raw = gzip.decompress(raw)
            made.messages.append(MESSAGES[self.path.removeprefix("/moved")].FromString(raw))
            said = answer(number)
            self.send_response(said.status)
            sent = {"Content-Type": said.kind} if said.kind else {}
            for name, value in {"Content-Length": str(len(said.body)), **sent, **said.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said.body)

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    with Server(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield made
        server.shutdown()


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
