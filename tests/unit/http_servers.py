# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Servers of HTTP, kind and unkind, and the destination that asks them."""

from __future__ import annotations

import socket
import ssl
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import trustme

from sockbpf.delivery.destinations.http_get import HttpGet
from sockbpf.delivery.transport import TransportError
from sockbpf.record.alert import ONGOING, Alert, Notice
from sockbpf.record.event import Direction, Mode, Protocol, Socket
from sockbpf.record.fields import parameters
from sockbpf.settings.destinations import HttpSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


SOCKET = Socket(Protocol.TCP, "::ffff:192.0.2.1", 80, "2001:db8::1", 40000, 4026531840, 1)
NOTICE = Notice(
    ONGOING, "episode&1", 1795343123482913000, 1795343121982913000, SOCKET, Direction.SEND, Mode.EBPF, 9, 10, 8,
    4711, "a=b &c",
)  # fmt: skip
TOLD = parameters(Alert(NOTICE, 7, "host", 0))

HANGS_S = 30
"""Far above any timeout of these tests: who takes that long hangs."""


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@dataclass
class Served:
    """What a server was asked: the targets and headers of the requests, the connections they came on.

    Over TLS also the names of the client's certificate, for each request.
    """

    port: int = 0
    scheme: str = "http"
    targets: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    connections: set[tuple[str, int]] = field(default_factory=set)
    peers: list[list[tuple[str, str]]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/alert"

    def query(self, which: int = -1) -> list[tuple[str, str]]:
        return parse_qsl(urlsplit(self.targets[which]).query, keep_blank_values=True)


@contextmanager
def http_server(
    answer: Callable[[BaseHTTPRequestHandler], None],
    *,
    family: socket.AddressFamily = socket.AF_INET,
    tls: ssl.SSLContext | None = None,
) -> Iterator[Served]:
    served = Served()
    accepted: list[socket.socket] = []

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # a body is written after its head: it need not wait for an ACK

        def setup(self) -> None:
            accepted.append(self.request)
            super().setup()

        def do_GET(self) -> None:
            served.targets.append(self.path)
            served.headers.append(dict(self.headers))
            served.connections.add(self.client_address[:2])
            if isinstance(self.connection, ssl.SSLSocket):
                peer: dict[str, Any] = self.connection.getpeercert() or {}
                served.peers.append([*peer.get("subjectAltName", ())])
            answer(self)

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        address_family = family
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    server = Server(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0), Handler)
    if tls:
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    served.port = server.server_port
    served.scheme = "https" if tls else "http"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        server.server_close()
        thread.join(20)
        for connection in accepted:
            with suppress(OSError):
                socket.socket.shutdown(connection, socket.SHUT_RDWR)


def body_of(handler: BaseHTTPRequestHandler) -> bytes:
    """Read what is posted: an answer to it must do so once."""
    return handler.rfile.read(int(handler.headers["Content-Length"]))


@contextmanager
def raw_server(serve: Callable[[socket.socket, threading.Event], None]) -> Iterator[str]:
    """Hand every connection, its request read, to `serve`; the event is set at the end. Yields the URL."""
    over = threading.Event()
    listening = socket.create_server(("127.0.0.1", 0))

    def each(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            while not connection.recv(65536).endswith(b"\r\n\r\n"):
                pass
            serve(connection, over)

    def accept() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listening.accept()
                threading.Thread(target=each, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield f"http://user:s3cret@127.0.0.1:{listening.getsockname()[1]}/alert?token=s3cret"
    finally:
        over.set()
        listening.shutdown(socket.SHUT_RDWR)
        listening.close()


def drip(write: Callable[[bytes], object], over: threading.Event) -> None:
    """Send a byte every 20 ms until nobody listens any more."""
    with suppress(OSError):
        while not over.wait(0.02):
            write(b"x")


def say(status: int, body: bytes = b"ok", **headers: str) -> Callable[[BaseHTTPRequestHandler], None]:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        if status != 204:
            handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        if status != 204:
            handler.wfile.write(body)

    return answer


@contextmanager
def destination(url: str, timeout_s: float = 10, **options: Any) -> Iterator[HttpGet]:
    http_get = HttpGet(HttpSettings(url=url, timeout=timeout_s, **options))
    try:
        yield http_get
    finally:
        http_get.close()


def failure(url: str, timeout_s: float = 10, **options: Any) -> TransportError:
    """Return the error of one try, and see that it neither hangs nor tells secrets."""
    begun = time.monotonic()
    with destination(url, timeout_s, **options) as http_get, pytest.raises(TransportError) as caught:
        http_get.send(TOLD)
    assert time.monotonic() - begun < HANGS_S
    assert "s3cret" not in "".join(traceback.format_exception(caught.value))
    assert "episode" not in str(caught.value)
    return caught.value


def redirect_once(handler: BaseHTTPRequestHandler, location: str) -> None:
    if "alert" in handler.path:
        say(302, Location=location)(handler)
    else:
        say(500)(handler)


SECRET_OPTIONS: dict[str, Any] = {
    "token": "s3cret.token",
    "headers": {"X-Key": "s3cret key", "Cookie": "a=s3cret", "User-Agent": "s3cret agent"},
}


def redirect_to(handler: BaseHTTPRequestHandler, location: str) -> None:
    first = urlsplit(handler.path).path == "/alert"
    (say(302, Location=location) if first else say(200))(handler)
