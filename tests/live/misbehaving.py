# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""HTTP destinations that misbehave, each in its own way, until they are good."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import trustme

from tests.live.receiver import Told

TIMEOUT_S = 0.5

Handler = BaseHTTPRequestHandler


@dataclass
class Place:
    """A destination: how it misbehaves until it is good, and what it saw."""

    name: str
    misbehave: Callable[[Handler, threading.Event], bool]
    """Whether it took the alert all the same; called in a thread of the connection's own."""

    scheme: str = "http"
    good: threading.Event = field(default_factory=threading.Event)
    tries: list[float] = field(default_factory=list)
    """Monotonic seconds of each request; of each connection where no request comes through."""
    taken: list[Told] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)
    contexts: tuple[ssl.SSLContext, ssl.SSLContext] | None = None
    """Of TLS: the bad one, the good one."""
    port: int = 0

    def settings(self) -> dict[str, Any]:
        url = f"{self.scheme}://127.0.0.1:{self.port}/alert"
        return {"type": "http", "name": self.name, "url": url, **self.options}


class Server(ThreadingHTTPServer):
    """Serves a place on its port, or on a free one that becomes its port."""

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, place: Place) -> None:
        self.place = place
        self.connections: set[socket.socket] = set()
        super().__init__(("127.0.0.1", place.port), partial(_Handler, place))
        place.port = self.server_port
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()

    def get_request(self) -> tuple[socket.socket, Any]:
        connection, address = super().get_request()
        place = self.place
        if place.contexts:
            if not place.good.is_set():
                place.tries.append(time.monotonic())
            context = place.contexts[place.good.is_set()]
            connection = context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False)
        self.connections.add(connection)
        return connection, address

    def shutdown_request(self, request: Any) -> None:
        """Close without a FIN of its own, so that SO_LINGER has its way."""
        self.connections.discard(request)
        self.close_request(request)

    def handle_error(self, *_: Any) -> None:
        """Say nothing: clients go away here all the time."""

    def vanish(self) -> None:
        self.shutdown()
        self.server_close()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def serve(stack: ExitStack, place: Place) -> Server:
    server = Server(place)
    stack.callback(server.vanish)
    stack.callback(place.good.set)
    return server


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, place: Place, *arguments: Any) -> None:
        self.place = place
        super().__init__(*arguments)

    def do_GET(self) -> None:
        place = self.place
        told = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        if place.good.is_set():
            place.taken.append(told)
            answer(self, 204)
            return
        place.tries.append(time.monotonic())
        self.close_connection = True
        with suppress(OSError):
            if place.misbehave(self, place.good):
                place.taken.append(told)

    def log_message(self, *_: Any) -> None:
        pass


def answer(handler: Handler, status: int, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    if status != 204:
        handler.send_header("Content-Length", "0")
    handler.end_headers()


def hangs(_: Handler, good: threading.Event) -> bool:
    good.wait()
    return False


def resets(handler: Handler, _: threading.Event) -> bool:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Le")
    handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return False


def fails(handler: Handler, _: threading.Event) -> bool:
    answer(handler, 500)
    return False


def too_many(handler: Handler, _: threading.Event) -> bool:
    answer(handler, 429, Retry_After="1")
    return False


def drips(handler: Handler, good: threading.Event, begin: bytes) -> None:
    handler.wfile.write(begin)
    while not good.wait(0.1):
        handler.wfile.write(b"x")


def drips_its_head(handler: Handler, good: threading.Event) -> bool:
    drips(handler, good, b"HTTP/1.")
    return False


def drips_its_body(handler: Handler, good: threading.Event) -> bool:
    """Say 200, and then take for ever: that is an alert taken."""
    with suppress(OSError):
        drips(handler, good, b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
    return True


def answers_late(handler: Handler, good: threading.Event) -> bool:
    """Take it, and say so when the monitor has given up: it comes again."""
    good.wait(1.6 * TIMEOUT_S)
    with suppress(OSError):
        answer(handler, 204)
    return True


def is_good(_: Handler, good: threading.Event) -> bool:
    pytest.fail("nothing comes through to this one while it is bad")


def tls_place(folder: Path) -> Place:
    authority = trustme.CA()
    file = folder / "authority.pem"
    authority.cert_pem.write_to_path(str(file))
    contexts = []
    for name in ("other.example", "127.0.0.1"):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert(name).configure_cert(context)
        contexts.append(context)
    return Place(
        "wrong-name",
        is_good,
        "https",
        contexts=(contexts[0], contexts[1]),
        options={"ca_file": str(file)},
    )


def watch_knocks(stack: ExitStack, place: Place) -> None:
    """Note in `tries` who knocks at the place's port of loopback, whether somebody listens there or not."""
    seen = stack.enter_context(socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, socket.htons(0x0800)))
    seen.bind(("lo", 0x0800))
    wanted = place.port.to_bytes(2, "big")

    def watch() -> None:
        with suppress(OSError):
            while True:
                packet, (*_, kind, _hardware, _address) = seen.recvfrom(64)
                tcp = packet[(packet[0] & 15) * 4 :]
                is_syn = packet[9] == socket.IPPROTO_TCP and tcp[13] & 0x12 == 0x02
                if kind != socket.PACKET_OUTGOING and is_syn and tcp[2:4] == wanted:
                    place.tries.append(time.monotonic())

    threading.Thread(target=watch, daemon=True).start()
