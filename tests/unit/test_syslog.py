# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Messages reach a daemon by UDP, and by TCP on one connection; what did not is a failure."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from sockbpf.delivery.destinations.syslog import STREAM_BYTES, UDP_BYTES
from sockbpf.delivery.destinations.syslog_wire import LOOK_UP_S, Udp
from tests.unit.syslog_daemons import HANGS_S, RESET, TOLD, failure, reading, seqs, syslog, tcp_daemon

HOSTS = [
    "127.0.0.1",
    pytest.param("::1", marks=pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="no IPv6")),
]


@contextmanager
def udp_daemon(host: str = "127.0.0.1", port: int = 0) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as daemon:
        daemon.settimeout(HANGS_S)
        daemon.bind((host, port))
        yield daemon


@pytest.mark.parametrize("host", HOSTS)
def test_udp(host: str) -> None:
    with udp_daemon(host) as daemon, syslog("udp", host, daemon.getsockname()[1]) as destination:
        for seq in range(3):
            destination.send(TOLD | {"seq": str(seq)})
        assert seqs([daemon.recv(STREAM_BYTES) for _ in range(3)]) == ["0", "1", "2"]


def test_udp_is_no_longer_than_what_every_receiver_takes() -> None:
    with udp_daemon() as daemon:
        with syslog("udp", *daemon.getsockname()) as destination:
            destination.send(TOLD | {"comm": "x" * 1500})
        assert len(daemon.recv(STREAM_BYTES)) == UDP_BYTES


def test_udp_with_nobody_there_fails_at_once_and_works_when_somebody_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A name may stand for another host by then: it is looked up after each failure."""
    look_up, looked_up = socket.getaddrinfo, []

    def count_and_look_up(*arguments: Any, **kinds: Any) -> Any:
        looked_up.append(arguments)
        return look_up(*arguments, **kinds)

    monkeypatch.setattr(socket, "getaddrinfo", count_and_look_up)
    with udp_daemon() as daemon:
        port = daemon.getsockname()[1]
    with syslog("udp", "127.0.0.1", port) as destination:
        for number in (1, 2):
            assert str(failure(destination)) == f"syslog udp://127.0.0.1:{port}: Connection refused"
            assert looked_up == [("127.0.0.1", port)] * number
        with udp_daemon(port=port) as daemon:
            destination.send(TOLD)
            assert seqs([daemon.recv(STREAM_BYTES)]) == ["7"]


def test_udp_looks_a_name_up_again(monkeypatch: pytest.MonkeyPatch) -> None:
    look_up, now_s = socket.getaddrinfo, [0.0]
    with ExitStack() as stack:
        daemons = [stack.enter_context(udp_daemon()) for _ in range(2)]
        names = [daemon.getsockname() for daemon in daemons]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **kinds: look_up(*names[0], **kinds))
        wire = stack.enter_context(closing(Udp("moving.invalid", 514, lambda: now_s[0])))
        wire.send(b"1")
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **kinds: look_up(*names[1], **kinds))
        now_s[0] = LOOK_UP_S - 1
        wire.send(b"2")
        now_s[0] = LOOK_UP_S
        wire.send(b"3")
        assert [daemons[0].recv(9), daemons[0].recv(9), daemons[1].recv(9)] == [b"1", b"2", b"3"]


def test_udp_takes_the_first_address_to_which_there_is_a_way(monkeypatch: pytest.MonkeyPatch) -> None:
    with udp_daemon() as daemon:
        found = [
            (socket.AF_INET, socket.SOCK_DGRAM, 0, "", ("255.255.255.255", 514)),  # not allowed
            (socket.AF_INET, socket.SOCK_DGRAM, 0, "", daemon.getsockname()),
        ]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with syslog("udp", "several.invalid", 514) as destination:
            destination.send(TOLD)
            assert seqs([daemon.recv(STREAM_BYTES)]) == ["7"]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found[:1])
        with syslog("udp", "several.invalid", 514) as destination:
            assert str(failure(destination)) == "syslog udp://several.invalid:514: Permission denied"


@pytest.mark.parametrize("transport", ["udp", "tcp"])
def test_a_name_that_is_none(transport: str) -> None:
    with syslog(transport, "nobody.invalid", 514) as destination:
        assert str(failure(destination)).startswith(f"syslog {transport}://nobody.invalid:514: ")


@pytest.mark.parametrize("host", HOSTS)
def test_tcp_counts_octets_on_one_connection(host: str) -> None:
    with (
        tcp_daemon(host) as daemon,
        reading(daemon, 3) as messages,
        syslog("tcp", host, daemon.getsockname()[1]) as destination,
    ):
        for seq in range(3):
            destination.send(TOLD | {"seq": str(seq), "comm": "ä" * 100})
    assert seqs(messages) == ["0", "1", "2"]


def test_tcp_with_nobody_there() -> None:
    with tcp_daemon() as daemon:
        port = daemon.getsockname()[1]
    with syslog("tcp", "127.0.0.1", port) as destination:
        assert str(failure(destination)) == f"syslog tcp://127.0.0.1:{port}: Connection refused"


def test_the_address_is_shown_with_brackets() -> None:
    with syslog("tcp", "::1", 1) as destination:
        assert str(failure(destination)).startswith("syslog tcp://[::1]:1: ")


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_was_closed_is_not_written_to(reset: bool) -> None:
    with tcp_daemon() as daemon, syslog("tcp", *daemon.getsockname()) as destination:
        for seq in range(3):
            with reading(daemon, 1, reset=reset) as messages:
                destination.send(TOLD | {"seq": str(seq)})
            assert seqs(messages) == [str(seq)]


def test_what_is_sent_as_the_other_side_closes_is_a_failure() -> None:
    """It took the connection and goes without reading: the answer to what was sent is a reset."""
    with tcp_daemon() as daemon, syslog("tcp", *daemon.getsockname()) as destination:
        closed = threading.Event()

        def take_and_close() -> None:
            connection, _ = daemon.accept()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
            connection.close()
            closed.set()

        connect = destination._wire._connect  # type: ignore[attr-defined]

        def connect_and_wait() -> socket.socket:
            made: socket.socket = connect()
            assert closed.wait(HANGS_S)
            return made

        destination._wire._connect = connect_and_wait  # type: ignore[attr-defined]
        thread = threading.Thread(target=take_and_close)
        thread.start()
        failed = failure(destination)
        thread.join()
    assert str(failed).endswith(("Connection reset by peer", "Broken pipe"))
