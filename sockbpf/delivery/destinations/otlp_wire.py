# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""OTLP's messages: alerts as a request for logs, answers as what they mean. The only module that knows Protobuf.

Imported only where such a destination is configured: its packages are those of the extra `otlp`.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import (
    ExportLogsPartialSuccess,
    ExportLogsServiceRequest,
    ExportLogsServiceResponse,
)

from sockbpf import __version__
from sockbpf.delivery.destinations.otlp_names import (
    SCHEMA,
    attributes,
    body,
    event_name,
    severity,
    unix_ns,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from opentelemetry.proto.resource.v1.resource_pb2 import Resource

PROTOBUF, JSON = "application/x-protobuf", "application/json"

SCOPE = "sockbpf"


def logs_request(alerts: Sequence[Mapping[str, str]], resource: Mapping[str, str], observed_ns: int) -> bytes:
    """Return the request for these alerts, in their order; of several hosts each has a resource of its own.

    `resource` are attributes of the settings, which replace ours of the same names.
    """
    made = ExportLogsServiceRequest()
    records: dict[str, Any] = {}
    for fields in alerts:
        host = fields["host"]
        if host not in records:
            of_host = made.resource_logs.add(schema_url=SCHEMA)
            describe(of_host.resource, host, resource)
            scope = of_host.scope_logs.add(schema_url=SCHEMA)
            scope.scope.name, scope.scope.version = SCOPE, __version__
            records[host] = scope.log_records
        number, text = severity(fields)
        record = records[host].add(
            time_unix_nano=unix_ns(fields["timestamp"]),
            observed_time_unix_nano=observed_ns,
            severity_number=number,
            severity_text=text,
            event_name=event_name(fields),
        )
        record.body.string_value = body(fields)
        put(record.attributes, attributes(fields))
    return made.SerializeToString()


def describe(resource: Resource, host: str, given: Mapping[str, str]) -> None:
    """Write into a message what sends: this host and sockbpf, and what the settings give."""
    ours = {
        "host.name": host,
        "os.type": "linux",
        "service.name": "sockbpf",
        "service.version": __version__,
    }
    put(resource.attributes, ours | dict(given))


def put(into: Any, values: Mapping[str, str | float]) -> None:
    """Append attributes to a message's list of them."""
    for name, value in values.items():
        holder = into.add(key=name).value
        if isinstance(value, str):
            holder.string_value = value
        elif isinstance(value, int):
            holder.int_value = value
        else:
            holder.double_value = value


def partial_success(kind: str, content: bytes) -> tuple[int, str]:
    """Return how many records an answer says are rejected, and its message; raise ValueError if it is no answer.

    It is the same for metrics: their messages have the same fields on the wire.
    """
    if kind == JSON:
        return _of_json(content)
    try:
        answer = ExportLogsServiceResponse.FromString(content).partial_success
    except DecodeError:
        raise ValueError("no message of OTLP") from None
    return answer.rejected_log_records, answer.error_message


def _of_json(content: bytes) -> tuple[int, str]:
    try:
        said = json.loads(content).get("partialSuccess") or {}
        rejected = said.get("rejectedLogRecords") or said.get("rejectedDataPoints") or 0
        return int(rejected), str(said.get("errorMessage") or "")
    except (ValueError, OverflowError, TypeError, AttributeError, RecursionError):
        raise ValueError("no message of OTLP") from None


def status_message(kind: str, content: bytes) -> str:
    """Return what a failure says of itself, empty if nothing.

    It is a google.rpc.Status: a number and then a text, as in ExportLogsPartialSuccess, which reads it.
    """
    try:
        if kind == JSON:
            return str(json.loads(content).get("message") or "")
        if kind == PROTOBUF:
            return ExportLogsPartialSuccess.FromString(content).error_message
    except (DecodeError, ValueError, TypeError, AttributeError, RecursionError):
        pass
    return ""
