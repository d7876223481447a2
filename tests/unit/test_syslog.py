# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Syslog: what a message says, and what comes of it on real sockets of every kind, kind and unkind."""

from __future__ import annotations

import os
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from sockbpf.delivery.destinations.syslog import STREAM_BYTES, UDP_BYTES, Syslog
from sockbpf.delivery.destinations.syslog_message import element, rfc5424, syslog3
from sockbpf.delivery.destinations.syslog_wire import LOOK_UP_S, Udp
from sockbpf.delivery.transport import TransportError
from sockbpf.record.text import printable, sentence
from tests.live.waiting import until

TOLD = {
    "timestamp": "1795343123.482913", "event": "ongoing", "protocol": "tcp", "local_ip": "10.0.0.1",
    "local_port": "80", "remote_ip": "::1", "remote_port": "40000", "type": "SEND", "size": "9",
    "threshold": "8", "peak": "10", "duration": "1.500000", "id": "e", "seq": "7", "host": "h.example",
    "netns": "4026531840", "mode": "ebpf", "pid": "4711", "comm": 'a"b\\c]',
}  # fmt: skip
HEARTBEAT = {"event": "heartbeat", "timestamp": "1795343123.000000", "host": "h", "seq": "7", "alerts": "12"}
PARAMETERS = (
    'timestamp="1795343123.482913" event="ongoing" protocol="tcp" local_ip="10.0.0.1" local_port="80" '
    'remote_ip="::1" remote_port="40000" type="SEND" size="9" threshold="8" peak="10" duration="1.500000" id="e" '
    'seq="7" host="h.example" netns="4026531840" mode="ebpf" pid="4711" comm="a\\"b\\\\c\\]"'
)
SENTENCE = (
    "SEND queue of tcp 10.0.0.1:80 to [::1]:40000 still holds 9 bytes, over 8 for 1.500000 s, peak 10 "
    '(a"b\\c], pid 4711)'
)
HANGS_S = 20
"""Far above any timeout of these tests: who takes that long hangs."""

HOSTS = [
    "127.0.0.1",
    pytest.param("::1", marks=pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="no IPv6")),
]
RESET = struct.pack("ii", 1, 0)

# RFC 5424, section 6, for messages with one SD-ELEMENT.
NAME = r"[!#-<>-\\^-~]{1,32}"
GRAMMAR = re.compile(
    r"<(?P<pri>[1-9]?[0-9]|1[0-8][0-9]|19[01])>1 "
    r"(?P<timestamp>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z) (?P<host>[!-~]{1,255}) (?P<app>[!-~]{1,48}) "
    r"(?P<procid>[!-~]{1,128}) (?P<msgid>[!-~]{1,32}) "
    rf'\[(?P<id>{NAME})(?P<parameters>(?: {NAME}="(?:[^"\\\]]|\\["\\\]])*")*)\](?: (?P<msg>.*))?',
    re.DOTALL,
)
PARAMETER = re.compile(rf' ({NAME})="((?:[^"\\\]]|\\["\\\]])*)"')


def parsed(message: bytes) -> dict[str, str]:
    """Return the fields of a message of RFC 5424."""
    found = GRAMMAR.fullmatch(message.decode())
    assert found, message
    return found.groupdict(default="")


def parameters(text: str) -> dict[str, str]:
    return {name: re.sub(r'\\(["\\\]])', r"\1", value) for name, value in PARAMETER.findall(text)}


def message_of(fields: dict[str, str], limit: int = STREAM_BYTES) -> bytes:
    return rfc5424(fields, facility=3, pid=77, limit=limit)


def local_of(fields: dict[str, str], limit: int = STREAM_BYTES) -> bytes:
    return syslog3(fields, facility=3, pid=77, limit=limit)


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TZ", "UTC0")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


# what a message says


def test_the_message_of_rfc_5424() -> None:
    head = "<28>1 2026-11-22T10:25:23.482913Z h.example sockbpf 77 ongoing"
    assert message_of(TOLD).decode() == f"{head} [sockbpf@32473 {PARAMETERS}] {SENTENCE}"


def test_the_message_of_syslog3(utc: None) -> None:
    expected = f"<28>Nov 22 10:25:23 sockbpf[77]: {SENTENCE} [sockbpf@32473 {PARAMETERS}]"
    assert local_of(TOLD).decode() == expected


def test_days_of_one_digit_are_padded_with_a_space(utc: None) -> None:
    assert local_of(HEARTBEAT | {"timestamp": "1793620803.5"}).startswith(
        b"<30>Nov  2 12:00:03 sockbpf[77]: "
    )


def test_a_heartbeat() -> None:
    expected = (
        b"<30>1 2026-11-22T10:25:23.000000Z h sockbpf 77 heartbeat "
        b'[sockbpf@32473 event="heartbeat" timestamp="1795343123.000000" host="h" seq="7" alerts="12"] '
        b"heartbeat, last alert 7"
    )
    assert message_of(HEARTBEAT) == expected


@pytest.mark.parametrize(
    ("event", "severity"), [("exceeded", 4), ("ongoing", 4), ("cleared", 5), ("heartbeat", 6)]
)
@pytest.mark.parametrize(("facility", "number"), [("kern", 0), ("daemon", 3), ("local7", 23)])
def test_priorities(event: str, severity: int, facility: str, number: int, tmp_path: Path) -> None:
    with local_daemon(tmp_path / "log", socket.SOCK_DGRAM) as daemon:
        with syslog("unix", str(tmp_path / "log"), facility=facility) as destination:
            destination.send(TOLD | {"event": event})
        assert daemon.recv(STREAM_BYTES).startswith(b"<%d>" % (number * 8 + severity))


def test_no_such_facility_and_no_such_transport() -> None:
    with pytest.raises(ValueError, match="not in"):
        Syslog(address=("udp", "127.0.0.1", 514), timeout_s=1, facility="nobody")
    with pytest.raises(KeyError):
        Syslog(address=("sctp", "127.0.0.1", 514), timeout_s=1)


@settings(deadline=None)
@given(st.text(), st.text())
@example('"]\\', "\\")
@example("\\]", "]")
@example("é\n<0>1", 'a b="]')
@example("", "k" * 33)
def test_values_come_out_as_they_went_in(value: str, key: str) -> None:
    message = message_of(HEARTBEAT | {"comm": value, f"x{key}": "here"})
    read = parameters(parsed(message)["parameters"])
    assert read["comm"] == printable(value)
    assert "here" in read.values()
    assert message.decode().isprintable()


@settings(deadline=None)
@given(st.text())
@example("ä")
@example("a")
def test_what_is_not_ascii_is_marked_as_utf_8(name: str) -> None:
    fields = TOLD | {"comm": name}
    said = parsed(message_of(fields))["msg"]
    assert said.startswith("\ufeff") == (not printable(name).isascii())
    assert said.removeprefix("\ufeff") == sentence(fields)


@pytest.mark.parametrize(
    ("host", "shown"), [("", "-"), ("a b", "a?b"), ("hä\n", "h??"), ("h" * 300, "h" * 255)]
)
def test_a_host_name_that_is_none(host: str, shown: str) -> None:
    assert parsed(message_of(TOLD | {"host": host}))["host"] == shown


@settings(deadline=None)
@given(st.integers(600, UDP_BYTES), st.text(max_size=2000), st.text(max_size=2000))
@example(600, "ä" * 2000, "]" * 2000)
@example(600, "", "\\" * 300)
@example(600, "", "ä" * 2000)
@example(601, "", "ä" * 2000)
def test_no_message_is_longer_than_it_may(limit: int, one: str, other: str) -> None:
    fields = {"first": one} | TOLD | {"comm": other}
    for message in (message_of(fields, limit), local_of(fields, limit)):
        assert len(message) <= limit
        message.decode()
    read = parameters(parsed(message_of(fields, limit))["parameters"])
    assert read["event"] == "ongoing"
    assert all(text == printable(fields[key]) for key, text in read.items())


def test_the_sentence_is_cut_before_parameters_go() -> None:
    whole = message_of(TOLD)
    shorter = message_of(TOLD, len(whole) - 10)
    assert shorter == whole[:-10]
    assert message_of(TOLD, len(whole) - len(SENTENCE) - 1) == whole[: -len(SENTENCE) - 1]
    without_last = parsed(message_of(TOLD, len(whole) - len(SENTENCE) - 2))
    assert list(parameters(without_last["parameters"])) == list(TOLD)[:-1]


def test_an_element_without_room_has_its_name() -> None:
    assert element(TOLD, 0) == b"[sockbpf@32473]"


# where it goes


@contextmanager
def syslog(
    transport: str, host: str, port: int = 0, *, timeout_s: float = HANGS_S, facility: str = "daemon"
) -> Iterator[Syslog]:
    with closing(Syslog(address=(transport, host, port), timeout_s=timeout_s, facility=facility)) as made:
        yield made


@contextmanager
def local_daemon(path: Path, kind: socket.SocketKind) -> Iterator[socket.socket]:
    """Listen on a socket at `path`, a new one if there is one, as a daemon that starts anew."""
    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, kind) as daemon:
        daemon.settimeout(HANGS_S)
        daemon.bind(str(path))
        if kind == socket.SOCK_STREAM:
            daemon.listen()
        yield daemon


@contextmanager
def udp_daemon(host: str = "127.0.0.1", port: int = 0) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as daemon:
        daemon.settimeout(HANGS_S)
        daemon.bind((host, port))
        yield daemon


@contextmanager
def tcp_daemon(host: str = "127.0.0.1") -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as listening:
        listening.settimeout(HANGS_S)
        yield listening


def frames(connection: socket.socket, number: int) -> list[bytes]:
    """Read that many messages with their lengths before them."""
    connection.settimeout(HANGS_S)
    with connection.makefile("rb") as file:
        read = []
        for _ in range(number):
            length = b""
            while not length.endswith(b" "):
                got = file.read(1)
                assert got
                length += got
            read.append(file.read(int(length)))
        return read


def seqs(messages: list[bytes]) -> list[str]:
    return [parameters(parsed(message)["parameters"])["seq"] for message in messages]


@contextmanager
def reading(listening: socket.socket, number: int, *, reset: bool = False) -> Iterator[list[bytes]]:
    """Read that many messages from the next connection, and close it at the end."""
    messages: list[bytes] = []
    with ExitStack() as kept:

        def read() -> None:
            connection = kept.enter_context(listening.accept()[0])
            messages.extend(frames(connection, number))
            if reset:
                connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)

        thread = threading.Thread(target=read)
        thread.start()
        yield messages
        thread.join(HANGS_S)
        assert len(messages) == number


def failure(destination: Syslog) -> TransportError:
    with pytest.raises(TransportError) as failed:
        destination.send(TOLD)
    assert not failed.value.permanent
    return failed.value


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
        assert time.thread_time() - begun_s < 0.01
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
