# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A daemon of syslog that hangs, is full, dies or starts anew takes no more than a moment."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from sockbpf.delivery.destinations.syslog import STREAM_BYTES
from sockbpf.delivery.transport import TransportError
from tests.live.waiting import until
from tests.unit.syslog_daemons import (
    HANGS_S,
    HEARTBEAT,
    SENTENCE,
    TOLD,
    failure,
    local_daemon,
    reading,
    seqs,
    syslog,
    tcp_daemon,
)


def fill(take: Callable[[int], object]) -> int:
    """Do it, with numbers from 0 on, until there is no room; return how often there was."""
    taken: list[int] = []

    def take_all() -> None:
        for n in count():
            take(n)
            taken.append(n)

    with pytest.raises(TransportError, match=r": not taken within 0\.2 s$"):
        take_all()
    return len(taken)


def test_a_tcp_daemon_that_hangs_takes_no_more_than_its_window() -> None:
    """What its kernel has not acknowledged counts as not sent, and goes nowhere later."""
    with tcp_daemon() as daemon:
        daemon.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with syslog("tcp", "127.0.0.1", daemon.getsockname()[1], timeout_s=0.2) as destination:
            destination.send(TOLD)
            hung, _ = daemon.accept()
            taken = fill(lambda seq: destination.send(TOLD | {"seq": str(seq), "comm": "x" * 4000}))
            hung.settimeout(HANGS_S)
            received: list[bytes] = []

            def read_all() -> None:
                while True:
                    received.append(hung.recv(65536))

            with hung, pytest.raises(ConnectionResetError):
                read_all()
            assert b"".join(received).count(b"SEND queue") >= taken
            with reading(daemon, 1) as messages:
                destination.send(TOLD)
            assert seqs(messages) == ["7"]


def test_a_daemon_that_hung_and_dies_is_not_waited_for() -> None:
    with tcp_daemon() as daemon:
        daemon.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        sent_s = [time.monotonic()]
        failed: list[str] = []

        def send() -> None:
            with syslog("tcp", *daemon.getsockname()) as destination:
                try:
                    while True:
                        destination.send(TOLD | {"comm": "x" * 4000})
                        sent_s.append(time.monotonic())
                except TransportError as error:
                    failed.append(str(error))

        thread = threading.Thread(target=send)
        thread.start()
        hung, _ = daemon.accept()
        until(lambda: time.monotonic() - sent_s[-1] > 0.3, "a send that waits")
        hung.close()
        closed_s = time.monotonic()
        thread.join(HANGS_S)
    assert failed[0].endswith((": Connection reset by peer", ": Broken pipe"))
    assert time.monotonic() - closed_s < HANGS_S / 2


def test_a_full_local_socket(tmp_path: Path) -> None:
    """The wait costs no processor time: a spinning one would take nearly all of it."""
    path = tmp_path / "log"
    with (
        local_daemon(path, socket.SOCK_DGRAM) as daemon,
        syslog("unix", str(path), timeout_s=0.2) as destination,
    ):
        taken = 0
        while some := fill(lambda _: destination.send(TOLD)):  # it may be full of one sender only
            taken += some
        begun_s = time.thread_time()
        assert str(failure(destination)) == f"syslog {path}: not taken within 0.2 s"
        assert time.thread_time() - begun_s < 0.05
        for _ in range(taken):
            daemon.recv(STREAM_BYTES)
        destination.send(TOLD)


def test_a_local_daemon_that_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with syslog("unix", str(path)) as destination:
        assert str(failure(destination)) == f"syslog {path}: No such file or directory"
        for kind in (socket.SOCK_DGRAM, socket.SOCK_DGRAM):
            with local_daemon(path, kind) as daemon:
                destination.send(TOLD)
                assert SENTENCE.encode() in daemon.recv(STREAM_BYTES)
        assert str(failure(destination)) == f"syslog {path}: Connection refused"


def test_a_local_daemon_with_a_socket_of_streams(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with syslog("unix", str(path), timeout_s=HANGS_S) as destination:
        for _ in range(2):
            with local_daemon(path, socket.SOCK_STREAM) as daemon:
                received: list[bytes] = []

                def read(daemon: socket.socket = daemon, received: list[bytes] = received) -> None:
                    connection, _ = daemon.accept()
                    with connection:
                        while sum(part.count(b"\0") for part in received) < 2:
                            received.append(connection.recv(STREAM_BYTES))

                thread = threading.Thread(target=read)
                thread.start()
                destination.send(TOLD)
                destination.send(HEARTBEAT)
                thread.join(HANGS_S)
                first, second, rest = b"".join(received).split(b"\0")
                assert SENTENCE.encode() in first
                assert b"heartbeat, last alert 7 [sockbpf@32473 " in second
                assert rest == b""
        with local_daemon(path, socket.SOCK_DGRAM) as daemon:
            destination.send(TOLD)
            assert SENTENCE.encode() in daemon.recv(STREAM_BYTES)


def test_a_local_stream_that_nobody_reads(tmp_path: Path) -> None:
    path = tmp_path / "log"
    with local_daemon(path, socket.SOCK_STREAM), syslog("unix", str(path), timeout_s=0.2) as destination:
        assert str(failure(destination)) == f"syslog {path}: not taken within 0.2 s"


def test_a_local_stream_closed_unread(tmp_path: Path) -> None:
    """The kernel throws away what was not read, and counts it as no longer waiting."""
    path = tmp_path / "log"
    with local_daemon(path, socket.SOCK_STREAM) as daemon, syslog("unix", str(path)) as destination:

        def close_unread() -> None:
            connection, _ = daemon.accept()
            connection.recv(1, socket.MSG_PEEK)
            connection.close()

        thread = threading.Thread(target=close_unread)
        thread.start()
        assert str(failure(destination)) == f"syslog {path}: Connection reset by peer"
        thread.join()


def test_a_local_path_that_is_no_socket(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    with syslog("unix", str(tmp_path / "log")) as destination:
        assert str(failure(destination)) == f"syslog {tmp_path / 'log'}: Connection refused"


def test_nothing_is_left_open(tmp_path: Path) -> None:
    before = set(os.listdir("/proc/self/fd"))
    with local_daemon(tmp_path / "log", socket.SOCK_DGRAM), tcp_daemon() as daemon:
        with reading(daemon, 1), syslog("tcp", *daemon.getsockname()) as destination:
            destination.send(TOLD)
        with syslog("unix", str(tmp_path / "log")) as destination:
            destination.send(TOLD)
        destination.close()
    assert set(os.listdir("/proc/self/fd")) <= before
