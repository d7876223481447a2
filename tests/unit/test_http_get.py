# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The HTTP GET against real servers, kind and unkind."""

from __future__ import annotations

import base64
import logging
import socket
import ssl
import struct
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from sockbpf import __version__
from sockbpf.delivery.destinations import http_get as http_get_module
from sockbpf.delivery.destinations.deadline import Deadline
from sockbpf.delivery.destinations.http_get import BODY_BYTES, HttpGet, redacted, retry_after_s
from sockbpf.delivery.transport import TransportError
from sockbpf.record.alert import EXCEEDED, ONGOING, Alert, Notice
from sockbpf.record.event import Direction, Mode, Protocol, Socket
from sockbpf.record.fields import parameters
from sockbpf.settings.destinations import HttpSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

SOCKET = Socket(Protocol.TCP, "::ffff:192.0.2.1", 80, "2001:db8::1", 40000, 4026531840, 1)
NOTICE = Notice(
    ONGOING, "episode&1", 1795343123482913000, 1795343121982913000, SOCKET, Direction.SEND, Mode.EBPF, 9, 10, 8,
    4711, "a=b &c",
)  # fmt: skip
TOLD = parameters(Alert(NOTICE, 7, "host", 0))

HANGS_S = 30
"""Far above any timeout of these tests: who takes that long hangs."""


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No proxy, CA bundle or ~/.netrc of whoever runs the tests."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("ca") / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


@pytest.fixture(scope="module")
def tls(authority: trustme.CA) -> ssl.SSLContext:
    """Return what a server of 127.0.0.1 speaks TLS with."""
    return server_context(authority.issue_cert("127.0.0.1"))


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


def test_the_alert_is_told_in_the_query() -> None:
    with http_server(say(200)) as served, destination(served.url) as http_get:
        http_get.send(TOLD)
    assert served.query() == list(TOLD.items())
    assert urlsplit(served.targets[0]).path == "/alert"
    assert served.headers[0]["User-Agent"] == f"sockbpf/{__version__}"


def test_each_alert_is_told_by_itself() -> None:
    with http_server(say(200)) as served, destination(served.url) as http_get:
        for seq in range(3):
            http_get.send({"seq": str(seq), "comm": ""})
    assert [target.partition("?")[2] for target in served.targets] == [f"seq={seq}&comm=" for seq in range(3)]


@pytest.mark.parametrize("query", ["a=1&b=%26%20x&a=2", "flag", "a=b+c&empty="])
def test_the_query_of_the_url_is_kept(query: str) -> None:
    with http_server(say(200)) as served, destination(f"{served.url}?{query}") as http_get:
        http_get.send(TOLD)
    assert served.targets[0].startswith(f"/alert?{query}&timestamp=")
    assert served.query()[-len(TOLD) :] == list(TOLD.items())


def test_an_empty_path_does_no_harm() -> None:
    with (
        http_server(say(200)) as served,
        destination(f"http://127.0.0.1:{served.port}?a=1") as http_get,
    ):
        http_get.send(TOLD)
    assert served.targets[0].startswith("/?a=1&timestamp=")


@pytest.mark.parametrize("status", [200, 201, 202, 204, 206, 299])
def test_any_2xx_is_delivered_and_the_connection_serves_again(status: int) -> None:
    with http_server(say(status)) as served, destination(served.url) as http_get:
        for _ in range(3):
            http_get.send(TOLD)
    assert (len(served.targets), len(served.connections)) == (3, 1)


def test_a_chunked_answer_leaves_the_connection_usable() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"3\r\nabc\r\n0\r\n\r\n")

    with http_server(answer) as served, destination(served.url) as http_get:
        for _ in range(3):
            http_get.send(TOLD)
    assert (len(served.targets), len(served.connections)) == (3, 1)


@pytest.mark.parametrize(("length", "connections"), [(BODY_BYTES, 1), (BODY_BYTES * 50, 3)])
def test_a_connection_serves_again_only_if_the_body_was_read_whole(length: int, connections: int) -> None:
    with http_server(say(200, b"x" * length)) as served, destination(served.url) as http_get:
        for _ in range(3):
            http_get.send(TOLD)
    assert (len(served.targets), len(served.connections)) == (3, connections)


def test_a_body_without_end_is_left() -> None:
    left = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.end_headers()
        with suppress(OSError):
            while True:
                handler.wfile.write(b"x" * 65536)
        left.set()

    with http_server(answer) as served, destination(served.url, timeout_s=600) as http_get:
        http_get.send(TOLD)
        assert left.wait(HANGS_S)


@pytest.mark.parametrize(
    ("status", "permanent"),
    [(status, True) for status in (400, 401, 403, 404, 410, 422)]
    + [(status, False) for status in (300, 304, 408, 409, 418, 425, 429, 500, 502, 503, 504, 599)],
)
def test_every_other_status_is_a_failure_and_permanent_is_said_truthfully(
    status: int, permanent: bool
) -> None:
    with http_server(say(status, b"")) as served:
        error = failure(served.url)
    assert str(error) == f"GET http://127.0.0.1:{served.port}/alert: answered {status}"
    assert (error.permanent, error.retry_after_s) == (permanent, None)


def test_after_failures_it_works_again() -> None:
    answers = iter([say(500), say(503), say(500), say(200)])

    def answer(handler: BaseHTTPRequestHandler) -> None:
        next(answers)(handler)

    with http_server(answer) as served, destination(served.url) as http_get:
        for _ in range(3):
            with pytest.raises(TransportError):
                http_get.send(TOLD)
        http_get.send(TOLD)
    assert len(served.connections) == 1


def test_a_receiver_that_ends_between_two_alerts() -> None:
    with http_server(say(200)) as served:
        http_get = HttpGet(HttpSettings(url=served.url))
        http_get.send(TOLD)
    with pytest.raises(TransportError, match="Connection refused"):
        http_get.send(TOLD)
    http_get.close()


def test_a_connection_closed_while_idle_is_opened_again() -> None:
    closed = threading.Semaphore(0)

    def once(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
        connection.close()
        closed.release()

    with raw_server(once) as url, destination(url) as http_get:
        for _ in range(3):
            http_get.send(TOLD)
            assert closed.acquire(timeout=HANGS_S)


def test_retry_after_is_passed_on() -> None:
    when = datetime.now(timezone.utc) + timedelta(hours=1)
    with http_server(say(503, Retry_After="17")) as served:
        assert failure(served.url).retry_after_s == 17
    with http_server(say(429, Retry_After=format_datetime(when, usegmt=True))) as served:
        assert failure(served.url).retry_after_s == pytest.approx(3600, abs=HANGS_S)


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0.0),
        (" 120 ", 120.0),
        ("9" * 5000, float("inf")),
        ("Thu, 01 Jan 1970 00:02:00 GMT", 20.0),
        ("Thu, 01 Jan 1970 00:02:00 -0000", 20.0),
        ("Thursday, 01-Jan-70 00:02:00 GMT", 20.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        (None, None),
        ("", None),
        ("-1", None),
        ("1.5", None),
        ("\u0663", None),
        ("soon", None),
        ("Thu, 99 Jan 1970 00:02:00 GMT", None),
    ],
)
def test_retry_after_in_seconds_or_as_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_s(value, now=100.0) == seconds


@settings(deadline=None)
@given(st.text())
def test_no_retry_after_is_too_strange(value: str) -> None:
    seconds = retry_after_s(value, now=100.0)
    assert seconds is None or seconds >= 0


def test_nobody_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    error = failure(f"http://user:s3cret@127.0.0.1:{port}/alert?token=s3cret")
    assert str(error) == f"GET http://127.0.0.1:{port}/alert: ConnectionError: Connection refused"
    assert not error.permanent


def test_a_name_nobody_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    error = failure("http://user:s3cret@receiver.invalid/alert?token=s3cret")
    assert str(error) == "GET http://receiver.invalid/alert: ConnectionError: Name or service not known"


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 20", b"HTTP/1.1 500 No\r\nX-Half: "])
def test_a_reset_in_the_middle_of_the_answer(begun: bytes) -> None:
    def reset(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(begun)
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    with raw_server(reset) as url:
        failure(url)


def test_an_end_without_an_answer() -> None:
    with raw_server(lambda *_: None) as url:
        assert "closed without an answer" in str(failure(url))


@pytest.mark.parametrize("noise", [b"SSH-2.0-OpenSSH_9.6\r\n", b"\0\xff" * 40000, b"HTTP/1.1 abc\r\n\r\n"])
def test_what_is_no_http_is_a_failure(noise: bytes) -> None:
    with raw_server(lambda connection, _: connection.sendall(noise)) as url:
        failure(url)


def test_a_body_cut_short_does_not_undo_the_2xx() -> None:
    def cut(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")

    with raw_server(cut) as url, destination(url) as http_get:
        for _ in range(3):
            http_get.send(TOLD)


HINTS = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 7\r\n\r\n"
INTERIM = {
    "hints": HINTS,
    "processing": b"HTTP/1.1 102 Processing\r\n\r\n",
    "continue": b"HTTP/1.1 100 Go\r\n\r\n",
}


@pytest.mark.parametrize("before", [*INTERIM.values(), HINTS * 3, b"".join(INTERIM.values()) * 2])
def test_what_comes_before_the_answer_is_no_answer(before: bytes) -> None:
    """Nor is the connection lost by it."""
    connections = 0

    def serve(connection: socket.socket, _: threading.Event) -> None:
        nonlocal connections
        connections += 1
        connection.sendall(before + b"HTTP/1.1 204 No Content\r\n\r\n")
        connection.recv(65536)
        connection.sendall(before + b"HTTP/1.1 503 Later\r\nRetry-After: 120\r\nContent-Length: 0\r\n\r\n")
        connection.recv(65536)

    with raw_server(serve) as url, destination(url) as http_get:
        http_get.send(TOLD)
        with pytest.raises(TransportError, match="answered 503") as refused:
            http_get.send(TOLD)
    assert refused.value.retry_after_s == 120
    assert connections == 1


@pytest.mark.parametrize("before", [b"", *INTERIM.values()])
@pytest.mark.parametrize("way", ["ends", "stays silent", "has no end"])
def test_nothing_but_what_comes_before_is_a_failure(before: bytes, way: str) -> None:
    def serve(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(before)
        if way == "stays silent":
            over.wait()
        while way == "has no end" and before:
            connection.sendall(before)

    with raw_server(serve) as url:
        error = failure(url, timeout_s=0.3)
    assert "answered" not in str(error)
    assert not error.permanent


def test_a_protocol_that_nobody_asked_for_is_a_failure() -> None:
    def serve(connection: socket.socket, _: threading.Event) -> None:
        connection.sendall(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n"
        )
        connection.recv(65536)

    with raw_server(serve) as url:
        assert "answered 101" in str(failure(url))


def test_a_server_that_never_answers() -> None:
    def keep_silent(_: socket.socket, over: threading.Event) -> None:
        over.wait()

    with raw_server(keep_silent) as url:
        error = failure(url, timeout_s=0.2)
    assert str(error).endswith("/alert: no answer within 0.2 s")


def test_a_server_that_never_accepts() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=1) as listening:
        port = listening.getsockname()[1]
        error = failure(f"http://127.0.0.1:{port}/", timeout_s=0.2)
    assert str(error).endswith("/: no answer within 0.2 s")


@pytest.mark.parametrize("begun", [b"", b"HTTP/1.1 200 ", b"HTTP/1.1 500 No\r\nX-Drip: "])
def test_an_answer_drop_by_drop_is_cut(begun: bytes) -> None:
    def serve(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(begun)
        drip(connection.sendall, over)

    # The status line of the second is whole enough for http.client once the connection is cut.
    with raw_server(serve) as url:
        begun_at = time.monotonic()
        with destination(url, 0.2) as http_get, suppress(TransportError):
            http_get.send(TOLD)
        assert time.monotonic() - begun_at < HANGS_S


@pytest.mark.parametrize("header", [b"Content-Length: 100000", b"Transfer-Encoding: chunked", b"X-None: 1"])
@pytest.mark.parametrize("status", [200, 302, 500])
def test_a_body_drop_by_drop_is_cut(header: bytes, status: int) -> None:
    def serve(connection: socket.socket, over: threading.Event) -> None:
        connection.sendall(b"HTTP/1.1 %d Fine\r\n%b\r\n\r\n" % (status, header))
        if header.endswith(b"chunked"):
            connection.sendall(b"fffff\r\n")
        drip(connection.sendall, over)

    begun = time.monotonic()
    with raw_server(serve) as url, destination(url, 0.2) as http_get:
        # On a busy machine even the headers may be late: that says nothing of the body.
        told = next(told for _ in range(50) if "no answer" not in (told := outcome(http_get)))
    assert told.endswith("delivered" if status == 200 else f"answered {status}")
    assert time.monotonic() - begun < HANGS_S


def outcome(http_get: HttpGet) -> str:
    try:
        http_get.send(TOLD)
    except TransportError as error:
        return str(error)
    return "delivered"


def test_what_is_opened_after_the_deadline_is_cut_too() -> None:
    connections = Deadline(requests.Session())
    early, early_peer = socket.socketpair()
    late, late_peer = socket.socketpair()
    for peer in (early_peer, late_peer):
        peer.settimeout(HANGS_S)
    with early, early_peer, late, late_peer, connections.bounded(0.01) as expired:
        connections._add(early)
        assert early_peer.recv(1) == b""
        assert expired.is_set()
        connections._add(late)
        assert late_peer.recv(1) == b""


def test_what_ends_in_time_is_not_cut() -> None:
    connections = Deadline(requests.Session())
    ours, peer = socket.socketpair()
    with ours, peer:
        connections._add(ours)
        with connections.bounded(3600) as expired:
            pass
        assert not expired.is_set()
        ours.sendall(b"x")
        assert peer.recv(1) == b"x"


def test_one_thread_watches_all_exchanges_of_a_session() -> None:
    def watching() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "http-deadline"]

    before = len(watching())
    with http_server(say(200)) as served:
        with destination(served.url) as http_get:
            for _ in range(20):
                http_get.send(TOLD)
            assert len(watching()) == before + 1
        assert len(watching()) == before
        http_get.send(TOLD)
        http_get.close()
    assert len(watching()) == before


def test_a_deadline_before_that_of_the_exchange_before_is_kept() -> None:
    connections = Deadline(requests.Session())
    ours, peer = socket.socketpair()
    peer.settimeout(HANGS_S)
    with ours, peer:
        connections._add(ours)
        with connections.bounded(3600):
            until(lambda: connections._wakes_s == connections._due_s)
        with connections.bounded(0.01) as expired:
            assert peer.recv(1) == b""
            assert expired.is_set()
    connections.close_gently()


@pytest.mark.parametrize("in_time", [True, False])
def test_an_exchange_is_not_cut_at_the_deadline_of_the_one_before(in_time: bool) -> None:
    connections = Deadline(requests.Session())
    with connections.bounded(0.01) as first:
        assert in_time or first.wait(HANGS_S)
    ours, peer = socket.socketpair()
    with ours, peer, connections.bounded(3600) as expired:
        connections._add(ours)
        due_s = connections._due_s
        until(lambda: connections._wakes_s == due_s)
        assert not expired.is_set()
        ours.sendall(b"x")
        assert peer.recv(1) == b"x"
    connections.close_gently()


def test_after_an_exchange_the_thread_rests_and_cuts_nothing_until_the_next() -> None:
    connections = Deadline(requests.Session())
    ours, peer = socket.socketpair()
    peer.settimeout(HANGS_S)
    with ours, peer:
        connections._add(ours)
        with connections.bounded(1) as first:
            until(lambda: connections._wakes_s == connections._due_s)
        until(lambda: connections._wakes_s == float("inf"))
        assert not first.is_set()
        ours.sendall(b"x")
        assert peer.recv(1) == b"x"
        with connections.bounded(0.01) as second:
            assert peer.recv(1) == b""
            assert second.is_set()
    connections.close_gently()


def until(holds: Callable[[], bool]) -> None:
    begun = time.monotonic()
    while not holds():
        assert time.monotonic() - begun < HANGS_S
        time.sleep(0.001)


def test_redirects_are_followed() -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        if handler.path.startswith("/alert"):
            say(307, Location="/moved?to=1")(handler)
        elif handler.path.startswith("/moved"):
            say(302, Location="there")(handler)
        else:
            say(204)(handler)

    with http_server(answer) as served, destination(served.url) as http_get:
        http_get.send(TOLD)
    assert [urlsplit(target).path for target in served.targets] == ["/alert", "/moved", "/there"]
    assert len(served.connections) == 1


def test_a_redirect_loop_ends() -> None:
    with http_server(say(302, Location="/alert?token=s3cret")) as served:
        error = failure(served.url)
    assert str(error) == f"GET http://127.0.0.1:{served.port}/alert: more than 30 redirects"
    assert len(served.targets) == 31


@pytest.mark.parametrize("location", ["ftp://127.0.0.1/", "http://[::1/", "http://", "//:x", "\xff\xfe"])
def test_a_redirect_to_nowhere(location: str) -> None:
    with http_server(lambda handler: redirect_once(handler, location)) as served:
        failure(served.url)


def redirect_once(handler: BaseHTTPRequestHandler, location: str) -> None:
    if "alert" in handler.path:
        say(302, Location=location)(handler)
    else:
        say(500)(handler)


def test_a_chain_of_slow_redirects_is_cut_as_a_whole() -> None:
    over = threading.Event()

    def answer(handler: BaseHTTPRequestHandler) -> None:
        over.wait(0.15)
        say(302, Location="/alert")(handler)

    with http_server(answer) as served:
        error = failure(served.url, timeout_s=0.4)
        over.set()
    assert str(error).endswith("/alert: no answer within 0.4 s")
    assert len(served.targets) < 31


def test_the_password_of_the_url_is_used_but_not_carried_elsewhere() -> None:
    with http_server(say(200)) as elsewhere, http_server(say(302, Location=elsewhere.url)) as served:
        url = served.url.replace("http://", "http://us%40er:s3cret@")
        with destination(url) as http_get:
            http_get.send(TOLD)
    expected = "Basic " + base64.b64encode(b"us@er:s3cret").decode()
    assert served.headers[0]["Authorization"] == expected
    assert "Authorization" not in elsewhere.headers[0]


SECRET_OPTIONS: dict[str, Any] = {
    "token": "s3cret.token",
    "headers": {"X-Key": "s3cret key", "Cookie": "a=s3cret", "User-Agent": "s3cret agent"},
}
SECRET_HEADERS = {
    "Authorization": "Bearer s3cret.token",
    "X-Key": "s3cret key",
    "Cookie": "a=s3cret",
    "User-Agent": "s3cret agent",
}


def secrets_in(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if "s3cret" in value}


def test_headers_and_token_are_sent_each_time() -> None:
    with http_server(say(200)) as served, destination(served.url, **SECRET_OPTIONS) as http_get:
        http_get.send(TOLD)
        http_get.send(TOLD)
    assert [secrets_in(headers) for headers in served.headers] == [SECRET_HEADERS] * 2


def test_headers_and_token_stay_with_the_host_through_its_own_redirects() -> None:
    with (
        http_server(lambda handler: redirect_to(handler, "/moved")) as served,
        destination(served.url, **SECRET_OPTIONS) as http_get,
    ):
        http_get.send(TOLD)
    assert [urlsplit(target).path for target in served.targets] == ["/alert", "/moved"]
    # A Cookie is the only one that requests itself takes away at every redirect.
    assert secrets_in(served.headers[0]) == SECRET_HEADERS
    assert secrets_in(served.headers[1]).keys() == SECRET_HEADERS.keys() - {"Cookie"}


def redirect_to(handler: BaseHTTPRequestHandler, location: str) -> None:
    first = urlsplit(handler.path).path == "/alert"
    (say(302, Location=location) if first else say(200))(handler)


def test_headers_and_token_go_to_no_other_port_and_do_not_come_back() -> None:
    with (
        http_server(lambda handler: redirect_to(handler, f"{served.url}/back")) as other,
        http_server(lambda handler: redirect_to(handler, other.url)) as served,
        destination(served.url, **SECRET_OPTIONS) as http_get,
    ):
        http_get.send(TOLD)
        http_get.send(TOLD)
    assert [secrets_in(headers) for headers in other.headers] == [{}, {}]
    assert other.headers[0]["User-Agent"] == f"sockbpf/{__version__}"
    assert [urlsplit(target).path for target in served.targets] == ["/alert", "/alert/back"] * 2
    assert [secrets_in(headers) for headers in served.headers] == [SECRET_HEADERS, {}] * 2


def test_headers_and_token_go_to_no_other_name_at_the_same_port() -> None:
    with (
        http_server(lambda handler: redirect_to(handler, f"http://localhost:{served.port}/moved")) as served,
        destination(served.url, **SECRET_OPTIONS) as http_get,
    ):
        http_get.send(TOLD)
    assert [secrets_in(headers) for headers in served.headers] == [SECRET_HEADERS, {}]


def test_headers_and_token_go_nowhere_without_tls(tls: ssl.SSLContext, ca_file: Path) -> None:
    with (
        http_server(say(200)) as other,
        http_server(say(302, Location=other.url), tls=tls) as served,
        destination(served.url, ca_file=ca_file, **SECRET_OPTIONS) as http_get,
    ):
        http_get.send(TOLD)
    assert secrets_in(served.headers[0]) == SECRET_HEADERS
    assert secrets_in(other.headers[0]) == {}


def test_a_header_authorization_is_no_less_a_secret() -> None:
    with (
        http_server(say(200)) as other,
        http_server(say(302, Location=other.url)) as served,
        destination(served.url, headers={"AUTHORIZATION": "s3cret"}) as http_get,
    ):
        http_get.send(TOLD)
    assert [*secrets_in(served.headers[0]).values()] == ["s3cret"]
    assert secrets_in(other.headers[0]) == {}


@pytest.mark.parametrize("direct", [True, False])
def test_the_password_of_a_proxy_goes_to_proxies_only(monkeypatch: pytest.MonkeyPatch, direct: bool) -> None:
    with (
        http_server(say(200)) as other,
        http_server(lambda handler: redirect_to(handler, to)) as proxy,
    ):
        monkeypatch.setenv("http_proxy", f"http://us%40er:s3cret@127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        to = f"http://127.0.0.1:{other.port}/moved" if direct else "http://other.invalid/moved"
        with destination("http://receiver.invalid/alert") as http_get:
            http_get.send(TOLD)
    expected = "Basic " + base64.b64encode(b"us@er:s3cret").decode()
    assert [headers["Proxy-Authorization"] for headers in proxy.headers] == [expected] * (1 if direct else 2)
    assert ["Proxy-Authorization" in headers for headers in other.headers] == ([False] if direct else [])


def test_netrc_is_not_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login user password s3cret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with http_server(say(200)) as elsewhere, http_server(say(302, Location=elsewhere.url)) as served:
        with destination(served.url) as http_get:
            http_get.send(TOLD)
        assert "Authorization" not in served.headers[0]
        assert "Authorization" not in elsewhere.headers[0]


def test_cookies_are_not_kept() -> None:
    with http_server(say(200, Set_Cookie="a=1")) as served, destination(served.url) as http_get:
        http_get.send(TOLD)
        http_get.send(TOLD)
    assert "Cookie" not in served.headers[1]


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server(say(200)) as proxy, http_server(say(200)) as direct:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with destination("http://receiver.invalid/alert") as http_get:
            http_get.send(TOLD)
        with destination(direct.url) as http_get:
            http_get.send(TOLD)
    assert proxy.targets[0].startswith("http://receiver.invalid/alert?timestamp=")
    assert (len(proxy.targets), len(direct.targets)) == (1, 1)


def test_the_environment_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def proxies_of(url: str) -> dict[str, str]:
        asked.append(url)
        return {}

    monkeypatch.setattr(http_get_module, "get_environ_proxies", proxies_of)
    with (
        http_server(say(200)) as other,
        http_server(say(302, Location=other.url)) as served,
        destination(served.url.replace("//", "//user:s3cret@")) as http_get,
    ):
        assert len(asked) == 1
        for _ in range(5):
            http_get.send(TOLD)
    assert [urlsplit(url).port for url in asked] == [served.port, other.port]


def test_what_the_environment_says_later_is_not_heard(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server(say(200)) as served, destination(served.url) as http_get:
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        http_get.send(TOLD)


@pytest.mark.parametrize("no_proxy", ["127.0.0.1", "10.0.0.0/8,127.0.0.0/8", "localhost, 127.0.0.1"])
def test_whether_there_is_a_proxy_is_asked_of_each_redirect_too(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str
) -> None:
    with (
        http_server(lambda handler: redirect_to(handler, "http://receiver.invalid/moved")) as direct,
        http_server(lambda handler: redirect_to(handler, f"http://127.0.0.1:{direct.port}/moved")) as proxy,
    ):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        monkeypatch.setenv("no_proxy", no_proxy)
        for url in (direct.url, "http://receiver.invalid/alert"):
            with destination(url) as http_get:
                http_get.send(TOLD)
    # A proxy is asked for whole URLs.
    assert [target.partition("?")[0] for target in direct.targets] == ["/alert", "/moved"]
    assert [target.partition("?")[0] for target in proxy.targets] == [
        "http://receiver.invalid/moved",
        "http://receiver.invalid/alert",
    ]


def test_a_proxy_that_drips_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    with raw_server(lambda connection, over: drip(connection.sendall, over)) as proxy:
        monkeypatch.setenv("http_proxy", proxy)
        monkeypatch.setenv("https_proxy", proxy)
        failure("http://receiver.invalid/alert", timeout_s=0.2)
        failure("https://receiver.invalid/alert", timeout_s=0.2)


def test_ipv6() -> None:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("no IPv6 loopback here")
    with http_server(say(200), family=socket.AF_INET6) as served:
        with destination(f"http://[::1]:{served.port}/alert") as http_get:
            http_get.send(TOLD)
        assert served.query() == list(TOLD.items())


def test_a_certificate_that_nobody_vouches_for_is_refused(tls: ssl.SSLContext) -> None:
    with http_server(say(200), tls=tls) as served:
        error = failure(f"https://user:s3cret@127.0.0.1:{served.port}/alert?token=s3cret")
    assert f"GET {served.url}: SSLError: certificate refused, " in str(error)
    assert served.targets == []


def test_a_certificate_of_ones_own_authority_is_good(tls: ssl.SSLContext, ca_file: Path) -> None:
    with http_server(say(200), tls=tls) as served, destination(served.url, ca_file=ca_file) as http_get:
        for _ in range(3):
            http_get.send(TOLD)
    assert (len(served.targets), len(served.connections)) == (3, 1)


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_certificate_of_the_environments_bundle_is_good(
    tls: ssl.SSLContext, ca_file: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv(name, str(ca_file))
    with http_server(say(200), tls=tls) as served, destination(served.url) as http_get:
        monkeypatch.delenv(name)
        for _ in range(3):
            http_get.send(TOLD)
    assert (len(served.targets), len(served.connections)) == (3, 1)


def test_ones_own_authority_counts_and_not_that_of_the_environment(
    tls: ssl.SSLContext, ca_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = tmp_path / "other.pem"
    trustme.CA().cert_pem.write_to_path(other)
    with http_server(say(200), tls=tls) as served:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(other))
        with destination(served.url, ca_file=ca_file) as http_get:
            http_get.send(TOLD)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(ca_file))
        assert "certificate refused" in str(failure(served.url, ca_file=other))
    assert len(served.targets) == 1


def test_a_certificate_of_another_name_is_refused(authority: trustme.CA, ca_file: Path) -> None:
    other = server_context(authority.issue_cert("receiver.example", "127.0.0.2"))
    with http_server(say(200), tls=other) as served:
        error = failure(f"{served.url}?s3cret", ca_file=ca_file, **SECRET_OPTIONS)
    assert "/alert: SSLError" in str(error)
    assert served.targets == []


def test_a_certificate_that_has_run_out_is_refused(authority: trustme.CA, ca_file: Path) -> None:
    old = authority.issue_cert("127.0.0.1", not_after=datetime(2020, 1, 1, tzinfo=timezone.utc))
    with http_server(say(200), tls=server_context(old)) as served:
        error = failure(f"{served.url}?s3cret", ca_file=ca_file)
    assert str(error).endswith("/alert: SSLError: certificate refused, certificate has expired")
    assert served.targets == []


@pytest.fixture(scope="module")
def asking(authority: trustme.CA) -> ssl.SSLContext:
    """Return what a server of 127.0.0.1 speaks TLS with that asks for a certificate of the client."""
    context = server_context(authority.issue_cert("127.0.0.1"))
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_files(authority: trustme.CA, folder: Path) -> dict[str, Any]:
    client = authority.issue_cert("client@sockbpf")
    client.cert_chain_pems[0].write_to_path(folder / "client.pem")
    client.private_key_pem.write_to_path(folder / "key.pem")
    client.private_key_and_cert_chain_pem.write_to_path(folder / "both.pem")
    return {"client_cert": folder / "client.pem", "client_key": folder / "key.pem"}


@pytest.mark.parametrize("in_one_file", [True, False])
def test_a_receiver_that_asks_for_a_certificate_gets_ours(
    authority: trustme.CA, asking: ssl.SSLContext, ca_file: Path, tmp_path: Path, in_one_file: bool
) -> None:
    files = client_files(authority, tmp_path)
    files = {"client_cert": tmp_path / "both.pem"} if in_one_file else files
    with (
        http_server(say(200), tls=asking) as served,
        destination(served.url, ca_file=ca_file, **files) as http_get,
    ):
        for _ in range(3):
            http_get.send(TOLD)
    assert served.peers == [[("email", "client@sockbpf")]] * 3
    assert (len(served.targets), len(served.connections)) == (3, 1)


def test_without_the_certificate_that_is_asked_for_nothing_is_delivered(
    asking: ssl.SSLContext, ca_file: Path, tmp_path: Path
) -> None:
    with http_server(say(200), tls=asking) as served:
        url = f"{served.url}?s3cret"
        failure(url, ca_file=ca_file, **SECRET_OPTIONS)
        failure(url, ca_file=ca_file, **client_files(trustme.CA(), tmp_path), **SECRET_OPTIONS)
    assert served.targets == []


def test_the_certificate_of_the_client_is_shown_to_no_other_host(
    authority: trustme.CA, asking: ssl.SSLContext, ca_file: Path, tmp_path: Path
) -> None:
    curious = server_context(authority.issue_cert("127.0.0.1"))
    authority.configure_trust(curious)
    curious.verify_mode = ssl.CERT_OPTIONAL
    with (
        http_server(say(200), tls=curious) as other,
        http_server(lambda handler: redirect_to(handler, other.url), tls=asking) as served,
        destination(served.url, ca_file=ca_file, **client_files(authority, tmp_path)) as http_get,
    ):
        http_get.send(TOLD)
        http_get.send(TOLD)
    assert [len(peer) for peer in served.peers] == [1, 1]
    assert other.peers == [[], []]


@pytest.mark.parametrize("gone", ["ca.pem", "client.pem", "key.pem"])
def test_a_file_that_is_gone_since_the_start_is_a_failure_like_others(
    authority: trustme.CA, asking: ssl.SSLContext, tmp_path: Path, gone: str
) -> None:
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    files: dict[str, Any] = {"ca_file": tmp_path / "ca.pem", **client_files(authority, tmp_path)}
    with http_server(say(200), tls=asking) as served, destination(served.url, **files) as http_get:
        content = (tmp_path / gone).read_bytes()
        (tmp_path / gone).unlink()
        with pytest.raises(TransportError) as caught:
            http_get.send(TOLD)
        assert str(caught.value) == f"GET {served.url}: OSError: a certificate, key or CA file is not there"
        (tmp_path / gone).write_bytes(content)
        http_get.send(TOLD)


def test_drop_by_drop_over_tls_is_cut(tls: ssl.SSLContext, ca_file: Path) -> None:
    over = threading.Event()
    with http_server(lambda handler: drip(handler.wfile.write, over), tls=tls) as served:
        error = failure(served.url, timeout_s=0.5, ca_file=ca_file)
        over.set()
    assert str(error).endswith("/alert: no answer within 0.5 s")


def test_http_spoken_to_a_tls_port_and_the_other_way_round(tls: ssl.SSLContext) -> None:
    with http_server(say(200), tls=tls) as served:
        failure(served.url.replace("https:", "http:"))
    with http_server(say(200)) as served:
        failure(served.url.replace("http:", "https:"))


def test_no_library_logs_the_secrets(caplog: pytest.LogCaptureFixture) -> None:
    bad_headers = b"HTTP/1.1 500 No\r\n: nameless\r\nno colon\r\nContent-Length: 0\r\n\r\n"
    with caplog.at_level(logging.DEBUG):
        with raw_server(lambda connection, _: connection.sendall(bad_headers)) as url:
            failure(url)
        with http_server(say(200)) as served, destination(f"{served.url}?token=s3cret") as http_get:
            http_get.send(TOLD)
    assert "s3cret" not in caplog.text


def test_nothing_that_is_shown_holds_a_secret(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, tls: ssl.SSLContext, ca_file: Path
) -> None:
    with (
        caplog.at_level(logging.DEBUG),
        http_server(say(500)) as other,
        http_server(say(500), tls=tls) as served,
    ):
        for url in (
            f"{other.url}/s3cret/path?s3cret",
            f"http://127.0.0.1:{other.port}/s3cret",
            f"{served.url}/s3cret",
            "http://127.0.0.1:9/s3cret",
            "https://receiver.invalid/s3cret",
        ):
            monkeypatch.setenv("HOOK", url)
            kept: Any = {"env": "HOOK"}
            options: dict[str, Any] = SECRET_OPTIONS | {"ca_file": ca_file}
            error = failure(kept, **options)
            at = urlsplit(url)
            assert str(error).startswith(f"GET {at.scheme}://{at.netloc}/...: ")
            with destination(kept, **options) as http_get:
                assert "s3cret" not in repr(http_get) + repr(http_get._settings) + str(http_get._settings)
                assert "s3cret" not in repr(vars(http_get._settings)["headers"])
    assert served.targets
    assert other.targets
    assert "s3cret" not in caplog.text


def test_a_redirect_does_not_show_the_path_of_a_secret_url(monkeypatch: pytest.MonkeyPatch) -> None:
    with http_server(lambda handler: redirect_once(handler, "/s3cret/moved")) as served:
        monkeypatch.setenv("HOOK", served.url)
        kept: Any = {"env": "HOOK"}
        assert str(failure(kept)) == f"GET http://127.0.0.1:{served.port}/...: answered 500"


@pytest.mark.parametrize(
    "url",
    ["", "no scheme s3cret", "http://", "http://[::1/s3cret?s3cret", "gopher://host/", "http://host/#part"],
)
def test_a_url_that_is_none_gets_no_further_than_the_settings(url: str) -> None:
    with pytest.raises(ValidationError) as caught, destination(url):
        pass
    assert "s3cret" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "plain", "host"),
    [
        ("http://user:s3cret@host:81/path?s3cret#s3cret", "http://host:81/path", "http://host:81/..."),
        ("https://us@er:s3c/ret@host/", "(unreadable URL)", "(unreadable URL)"),
        ("http://a:s3cret@b@[::1]:8080/x", "http://[::1]:8080/x", "http://[::1]:8080/..."),
        ("http://host", "http://host", "http://host/..."),
        ("http://[::1", "(unreadable URL)", "(unreadable URL)"),
        ("http://host:port/", "(unreadable URL)", "(unreadable URL)"),
    ],
)
def test_a_url_is_shown_without_what_may_be_secret(url: str, plain: str, host: str) -> None:
    assert redacted(url) == plain
    assert redacted(url, path=False) == host


def test_what_no_url_can_hold_is_a_failure_like_others() -> None:
    with http_server(say(200)) as served, destination(served.url) as http_get:
        with pytest.raises(TransportError, match="UnicodeEncodeError"):
            http_get.send({"comm": "\udcff"})
        http_get.send(TOLD)


def test_the_duration_of_an_exceeded_is_a_plain_zero() -> None:
    first = parameters(Alert(replace(NOTICE, event=EXCEEDED, pid=0), 1, "host", 0))
    with http_server(say(200)) as served, destination(served.url) as http_get:
        http_get.send(first)
    told = dict(served.query())
    assert told["duration"] == "0"
    assert "pid" not in told
    assert "comm" not in told
