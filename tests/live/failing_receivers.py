# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""One server for several receivers, each of which fails in every way by turns until all are good."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.live import misbehaving
from tests.live.ports import free_port
from tests.live.receiver import Server


def garbage(handler: BaseHTTPRequestHandler, _: threading.Event) -> bool:
    handler.wfile.write(b"what is this?\r\n\r\n")
    return False


def hangs_up(_handler: BaseHTTPRequestHandler, _good: threading.Event) -> bool:
    return False


def refuses(handler: BaseHTTPRequestHandler, _: threading.Event) -> bool:
    misbehaving.answer(handler, 400)
    return False


def sends_away(handler: BaseHTTPRequestHandler, _: threading.Event) -> bool:
    misbehaving.answer(handler, 307, Location=f"http://127.0.0.1:{free_port()}{handler.path}")
    return False


def sends_round(handler: BaseHTTPRequestHandler, _: threading.Event) -> bool:
    misbehaving.answer(handler, 307, Location=handler.path)
    return False


def sends_nowhere(handler: BaseHTTPRequestHandler, _: threading.Event) -> bool:
    misbehaving.answer(handler, 302, Location=f"http://[{handler.path}")
    return False


WAYS = (
    *(garbage, hangs_up, refuses, sends_away, sends_round, sends_nowhere),
    *(
        misbehaving.resets,
        misbehaving.fails,
        misbehaving.too_many,
        misbehaving.drips_its_head,
        misbehaving.answers_late,
    ),
)


@dataclass
class Receivers:
    """One server for all: by the first part of the path it knows who is meant."""

    port: int = 0
    good: threading.Event = field(default_factory=threading.Event)
    seen: dict[str, int] = field(default_factory=dict)
    taken: dict[str, tuple[str, str]] = field(default_factory=dict)
    """The last that each took: the request's target, and its headers."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    receivers: Receivers

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        receivers, name = self.receivers, re.split("[/?]", self.path)[1]
        number = receivers.seen[name] = receivers.seen.get(name, -1) + 1
        if receivers.good.is_set():
            receivers.taken[name] = self.path, str(self.headers)
            misbehaving.answer(self, 204)
        else:
            self.close_connection = True
            with suppress(OSError):
                WAYS[number % len(WAYS)](self, receivers.good)

    def do_POST(self) -> None:
        self.do_GET()

    def log_message(self, *_: Any) -> None:
        pass


class _Server(Server):
    def shutdown_request(self, request: Any) -> None:
        self.close_request(request)


@contextmanager
def failing() -> Iterator[Receivers]:
    made = Receivers()
    with _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"receivers": made})) as server:
        made.port = server.server_port
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield made
        made.good.set()
        server.shutdown()
