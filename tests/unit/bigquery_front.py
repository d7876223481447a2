# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A receiver that holds the documented rules of BigQuery's insertAll, and fails as they say that BigQuery can.

It checks rows by the table's schema and drops those whose insert id it has had. With `to` an emulator keeps the rows.
"""

from __future__ import annotations

import http.client
import json
import re
import socket
import ssl
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from sockbpf.delivery.destinations.bigquery import BigQuery
from sockbpf.delivery.destinations.bigquery_rows import schema
from sockbpf.delivery.transport import TransportError
from sockbpf.settings.destinations import BigQuerySettings
from tests.unit.http_servers import http_server, say
from tests.unit.told_alerts import told

ALERTS = [told(id_=f"e{seq % 3}", seq=str(seq)) for seq in range(16)]
TABLE = "my-project.sockbpf.alerts"

READ = {
    "STRING": re.compile(r"(?s).*"),
    "INTEGER": re.compile(r"-?[0-9]{1,19}"),
    "FLOAT": re.compile(r"-?[0-9]+(\.[0-9]+)?"),
    "TIMESTAMP": re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9:]{8}(\.[0-9]{1,6})?Z"),
}
"""The texts of which each type can be made."""


@dataclass(frozen=True)
class Fault:
    """An answer that is an error; `after` has the rows reach the table all the same, `cut` leaves the answer out."""

    status: int = 503
    reason: str = "backendError"
    message: str = "try again"
    headers: dict[str, str] = field(default_factory=dict)
    after: bool = False
    cut: bool = False

    def body(self) -> bytes:
        error = {"domain": "global", "reason": self.reason, "message": self.message}
        return json.dumps(
            {"error": {"code": self.status, "message": self.message, "errors": [error]}}
        ).encode()


def row_errors(errors: dict[int, str]) -> bytes:
    """Return what insertAll says of rows that were not inserted, by their places."""
    said = [
        {"index": place, "errors": [{"reason": reason, "location": "size", "message": f"it is {reason}"}]}
        for place, reason in errors.items()
    ]
    return json.dumps({"kind": "bigquery#tableDataInsertAllResponse", "insertErrors": said}).encode()


@dataclass
class Front:
    """Asks `fault` of each insertAll, with its rows: a Fault, an answer in place of its own, or None."""

    to: int | None = None
    url: str = ""
    table: str = "/bigquery/v2/projects/my-project/datasets/sockbpf/tables/alerts"
    columns: dict[str, dict[str, str]] = field(
        default_factory=lambda: {each["name"]: each for each in schema()}
    )
    fault: Callable[[list[Any]], Fault | bytes | None] = lambda _: None
    inserts: list[list[Any]] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    kept: dict[str, dict[str, str]] = field(default_factory=dict)
    """Rows by insert id."""

    def seqs(self) -> list[int]:
        return [int(each["seq"]) for each in list(self.kept.values())]

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        raw = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        path = handler.path.partition("?")[0]
        if not path.endswith("/insertAll"):
            assert self.to, path
            self._say(handler, *self._forwarded(handler, raw))
            return
        asked = json.loads(raw)
        self.inserts.append(asked["rows"])
        self.headers.append({name.lower(): text for name, text in handler.headers.items()})
        fault = self.fault(asked["rows"])
        if isinstance(fault, bytes):
            self._say(handler, 200, fault)
            return
        if fault is None or fault.after:
            status, body = self._inserted(handler, path, asked)
        if fault and fault.cut:
            handler.connection.shutdown(socket.SHUT_RDWR)
        elif fault:
            self._say(handler, fault.status, fault.body(), **fault.headers)
        else:
            self._say(handler, status, body)

    def _say(self, handler: BaseHTTPRequestHandler, status: int, body: bytes, **headers: str) -> None:
        say(status, body, Content_Type="application/json", **headers)(handler)

    def _inserted(self, handler: BaseHTTPRequestHandler, path: str, asked: Any) -> tuple[int, bytes]:
        if path != f"{self.table}/insertAll":
            return 404, Fault(404, "notFound", f"Not found: {path}").body()
        rows = {each["insertId"]: each["json"] for each in asked["rows"]}
        invalid = {place for place, each in enumerate(rows.values()) if not self._fits(each)}
        assert asked["ignoreUnknownValues"]
        if invalid:
            return 200, row_errors({n: "invalid" if n in invalid else "stopped" for n in range(len(rows))})
        new = {id_: each for id_, each in rows.items() if id_ not in self.kept}
        if self.to and new:
            asked["rows"] = [{"insertId": id_, "json": each} for id_, each in new.items()]
            status, body = self._forwarded(handler, json.dumps(asked).encode())
            if status != 200:
                return status, body
        self.kept |= new
        return 200, b'{"kind": "bigquery#tableDataInsertAllResponse"}'

    def _fits(self, values: dict[str, str]) -> bool:
        needed = {name for name, column in self.columns.items() if column["mode"] == "REQUIRED"}
        return needed <= values.keys() and all(
            READ[self.columns[name]["type"]].fullmatch(text)
            for name, text in values.items()
            if name in self.columns
        )

    def _forwarded(self, handler: BaseHTTPRequestHandler, raw: bytes) -> tuple[int, bytes]:
        to = http.client.HTTPConnection("127.0.0.1", int(self.to or 0), timeout=60)
        left = {"host", "accept-encoding", "content-length"}
        headers = {name: text for name, text in handler.headers.items() if name.lower() not in left}
        try:
            to.request(handler.command, handler.path, raw, headers)
            answer = to.getresponse()
            return answer.status, answer.read()
        finally:
            to.close()


@contextmanager
def front(tls: ssl.SSLContext | None = None, **how: Any) -> Iterator[Front]:
    made = Front(**how)
    with http_server(made.answer, tls=tls) as served:
        made.url = f"{served.scheme}://127.0.0.1:{served.port}"
        yield made


def destination(url: str, **keys: Any) -> BigQuery:
    its = {
        "project": "my-project",
        "dataset": "sockbpf",
        "table": "alerts",
        "endpoint": url,
        "timeout": "10s",
    }
    return BigQuery(BigQuerySettings.model_validate(its | keys))


def failed(url: str, **keys: Any) -> TransportError:
    with closing(destination(url, **keys)) as its, pytest.raises(TransportError) as caught:
        its.send_all(ALERTS)
    return caught.value
