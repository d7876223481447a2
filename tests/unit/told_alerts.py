# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Alerts as destinations get them, and a server that records what is posted and answers as it is told to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

TOLD = {
    "timestamp": "1795343123.482913", "event": "exceeded", "protocol": "tcp", "local_ip": "10.0.0.1",
    "local_port": "443", "remote_ip": "::1", "remote_port": "40000", "type": "RECV", "condition": "size",
    "severity": "warning", "size": "9007", "threshold": "8009", "peak": "9011", "duration": "0", "id": "e1",
    "seq": "7", "host": "web1", "netns": "4026531840", "mode": "ebpf", "pid": "4711", "comm": "nginx",
    "user": "www-data", "unit": "nginx.service", "cause": "reader-stopped", "confidence": "high",
    "reason": "the reader is stopped: nginx (pid 4711), state T", "run": "r1",
}  # fmt: skip
INCIDENT = "web1/tcp 443/www-data/4026531840"
HEARTBEAT = {
    "event": "heartbeat", "timestamp": "1795343123.000000", "host": "web1", "seq": "7", "run": "r1",
    "alerts": "12", "oldest_undelivered_seconds": "0.5", "version": "1.10",
}  # fmt: skip


def told(event: str = "exceeded", id_: str = "e1", **fields: str) -> dict[str, str]:
    """Return an alert of an episode."""
    return TOLD | {"event": event, "id": id_} | fields


@dataclass
class Answered:
    """What a server answers: a status, with headers."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)


@dataclass
class Posts:
    """What was posted: of each request its headers and its JSON."""

    url: str = ""
    headers: list[dict[str, str]] = field(default_factory=list)
    bodies: list[Any] = field(default_factory=list)


@contextmanager
def posted(answer: Callable[[bytes], Answered]) -> Iterator[Posts]:
    """Run a server at /in; `answer` is called with each body."""
    made = Posts()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            raw = self.rfile.read(int(self.headers["Content-Length"]))
            made.headers.append(dict(self.headers))
            made.bodies.append(json.loads(raw))
            answered = answer(raw)
            self.send_response(answered.status)
            for name, value in {"Content-Length": "0", **answered.headers}.items():
                self.send_header(name, value)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        made.url = f"http://127.0.0.1:{server.server_port}/in"
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield made
        server.shutdown()
