# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Daemons of syslog, local and by UDP and TCP, and what they were sent."""

from __future__ import annotations

import re
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from sockbpf.delivery.destinations.syslog import Syslog
from sockbpf.delivery.transport import TransportError

TOLD = {
    "timestamp": "1795343123.482913", "event": "ongoing", "protocol": "tcp", "local_ip": "10.0.0.1",
    "local_port": "80", "remote_ip": "::1", "remote_port": "40000", "type": "SEND", "size": "9",
    "threshold": "8", "peak": "10", "duration": "1.500000", "id": "e", "seq": "7", "host": "h.example",
    "netns": "4026531840", "mode": "ebpf", "pid": "4711", "comm": 'a"b\\c]',
}  # fmt: skip
HEARTBEAT = {"event": "heartbeat", "timestamp": "1795343123.000000", "host": "h", "seq": "7", "alerts": "12"}
SENTENCE = (
    "SEND queue of tcp 10.0.0.1:80 to [::1]:40000 still holds 9 bytes, over 8 for 1.500000 s, peak 10 "
    '(a"b\\c], pid 4711)'
)
HANGS_S = 20
"""Far above any timeout of these tests: who takes that long hangs."""
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
