# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A receiver that records every request, over real HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from tests.live.waiting import until

Told = dict[str, str]


@dataclass
class Receiver:
    """A receiver that records every request with the Unix time of its arrival, and answers as it is told."""

    url: str
    told: list[tuple[float, Told]] = field(default_factory=list)
    answer: Callable[[BaseHTTPRequestHandler], None] | None = None

    def alerts(self, **wanted: object) -> list[Told]:
        """Return the alerts that have all these parameters, in order of arrival."""
        strings = {key: str(value) for key, value in wanted.items()}
        return [told for _, told in list(self.told) if strings.items() <= told.items()]

    def first(self, **wanted: object) -> Told:
        """Wait for an alert with these parameters."""
        return self.count(1, **wanted)[0]

    def count(self, number: int, **wanted: object) -> list[Told]:
        """Wait for at least this many alerts with these parameters."""
        until(
            lambda: len(self.alerts(**wanted)) >= number,
            lambda: f"{len(self.alerts(**wanted))} of {number} alerts {wanted}",
        )
        return self.alerts(**wanted)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    receiver: Receiver

    def do_GET(self) -> None:
        told = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        self.receiver.told.append((time.time(), told))
        if self.receiver.answer:
            self.receiver.answer(self)
        else:
            self.send_response(204)
            self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_: Any) -> None:
        """Say nothing: a client that went away is no news."""


@contextmanager
def receiving() -> Iterator[Receiver]:
    """Run a receiver on a free port of loopback."""
    with Server(("127.0.0.1", 0), _Handler) as server:
        made = Receiver(f"http://127.0.0.1:{server.server_port}/alert")
        server.RequestHandlerClass = type("Handler", (_Handler,), {"receiver": made})
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield made
        server.shutdown()
