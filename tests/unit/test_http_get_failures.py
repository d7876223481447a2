# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The HTTP GET against servers that are not there, hang, drip, or speak something else: a failure, and soon."""

from __future__ import annotations

import socket
import struct
import threading
import time
from contextlib import suppress

import pytest

from sockbpf.delivery.destinations.http_get import HttpGet
from sockbpf.delivery.transport import TransportError
from tests.unit.http_servers import HANGS_S, TOLD, destination, drip, failure, raw_server

pytestmark = pytest.mark.usefixtures("plain_environment")


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
