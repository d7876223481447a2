# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""ClickHouse's engine over HTTP: a program that serves chDB as a ClickHouse server would, for its official client.

    python clickhouse_server.py FOLDER PORT

The engine, its SQL and its files are ClickHouse's own; of the protocol there is what the client uses. Each request
has a connection of its own to the engine, as in a server. Databases are made by `create database`, as there.
"""

from __future__ import annotations

import gzip
import re
import sys
import threading
from collections import defaultdict
from collections.abc import Callable
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import chdb
import lz4.frame  # type: ignore[import-untyped]

INSERT = re.compile(rb"\s*insert\s+into\s[^\n]*\n", re.IGNORECASE)
"""An insert whose rows follow in the body."""


def unpack_lz4(body: bytes) -> bytes:
    """Return what is in all frames: the client makes one of each block of rows."""
    parts = []
    while body:
        frame = lz4.frame.LZ4FrameDecompressor()
        parts.append(frame.decompress(body))
        body = frame.unused_data or b""
    return b"".join(parts)


UNPACK: dict[str, Callable[[bytes], bytes]] = {"identity": bytes, "gzip": gzip.decompress, "lz4": unpack_lz4}
FORMAT = re.compile(r"\s+format\s+(\w+)\s*;?\s*$", re.IGNORECASE)
QUERY = re.compile(r"\s*(select|with|insert)\s", re.IGNORECASE)
SETTINGS = ("join_use_nulls", "max_execution_time", "use_skip_indexes_if_final_exact_mode")
"""Those of a request that are handed on; the others are about HTTP or are the engine's own."""


def _connected(folder: Path) -> Any:
    connect: Any = chdb.connect
    return connect(str(folder))


class Engine:
    """Connections to the engine, by database; each serves one request at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._free: dict[str, list[Any]] = defaultdict(list)
        self._lock = threading.Lock()
        self._first = _connected(folder)  # the engine lives as long as one connection does

    def query(self, database: str, sql: str, form: str, parameters: dict[str, str]) -> bytes:
        """Return what the engine answers; raise what it raises."""
        with self._lock:
            connection = self._free[database].pop() if self._free[database] else None
        if connection is None:
            connection = _connected(self.folder)
            if database:
                connection.query(f"use `{database}`")
        try:
            answer = connection.query(sql, form, params=parameters or None)
            return bytes(answer.bytes()) if answer is not None else b""
        finally:
            with self._lock:
                self._free[database].append(connection)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    engine: Engine

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def do_GET(self) -> None:
        self._answer(200, b"Ok.\n", "TabSeparated")

    def do_POST(self) -> None:
        given = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        body = self._body()
        sql = given.get("query", "")
        with NamedTemporaryFile(suffix=".native") as sent:
            whole = sql.encode() + b"\n" + body if sql else body
            insert = INSERT.match(whole)
            if insert and FORMAT.search(insert[0].decode()):
                sent.write(whole[insert.end() :])
                sent.flush()
                sql = f"{FORMAT.sub('', insert[0].decode())} select * from file('{sent.name}', 'Native')"
            else:
                sql = f"{sql}\n{body.decode()}" if sql else body.decode()
            form = FORMAT.search(sql)
            sql = FORMAT.sub("", sql)
            if QUERY.match(sql):
                settings = ", ".join(f"{name} = {given[name]}" for name in SETTINGS if name in given)
                sql += f" settings {settings}" if settings else ""
            name = form[1] if form else given.get("default_format", "TabSeparated")
            parameters = {key[6:]: value for key, value in given.items() if key.startswith("param_")}
            try:
                self._answer(200, self.engine.query(given.get("database", ""), sql, name, parameters), name)
            except RuntimeError as error:
                self._answer(500, str(error).encode(), "Text")

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            parts = []
            while size := int(self.rfile.readline(), 16):
                parts.append(self.rfile.read(size))
                self.rfile.readline()
            self.rfile.readline()
            body = b"".join(parts)
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return UNPACK[self.headers.get("Content-Encoding", "identity")](body)

    def _answer(self, status: int, body: bytes, form: str) -> None:
        self.send_response(status)
        code = re.match(rb"Code: (\d+)", body)
        if status != 200 and code:
            self.send_header("X-ClickHouse-Exception-Code", code[1].decode())
        self.send_header("X-ClickHouse-Format", form)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        with suppress(OSError):
            self.wfile.write(body)


def main() -> None:
    folder, port = Path(sys.argv[1]), int(sys.argv[2])
    Handler.engine = Engine(folder)
    ThreadingHTTPServer.request_queue_size = 128
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()


if __name__ == "__main__":
    main()
