# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Receivers that hold the documented rules of Logstash's inputs http (4.1) and syslog (3.7): it cannot be had here.

The input http: Basic authentication, gzip, a codec by the media type, 200 `ok`, 429 while the queue is full, 500 if
an event cannot be made. The input syslog: lines by TCP, datagrams by UDP, read by `<%{POSINT}>%{SYSLOGLINE}` of grok.
"""

from __future__ import annotations

import base64
import gzip
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.unit.http_servers import body_of, http_server, say

Event = dict[str, Any]

HOST = r"\b[0-9A-Za-z][0-9A-Za-z-]{0,62}(?:\.[0-9A-Za-z][0-9A-Za-z-]{0,62})*\.?"
MONTH = r"\b(?:Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)\b"
SYSLOGLINE = re.compile(
    rf"<(?P<priority>\b[1-9][0-9]*\b)>(?P<timestamp>{MONTH} +(?:0[1-9]|[12][0-9]|3[01]|[1-9]) \d\d:\d\d:\d\d)"
    rf"(?: (?P<host>{HOST}))?(?: (?P<program>[\x21-\x5a\x5c\x5e-\x7e]+)(?:\[(?P<pid>\b[1-9][0-9]*\b)\])?:)? "
    r"(?P<message>[^\n]*)"
)
"""What these patterns of grok amount to, with the time as RFC 3164 has it."""

PAIR = re.compile(r' ([^ =]+)="((?:[^"\\\]]|\\["\\\]])*)"')
DATA = re.compile(rf"\[sockbpf@32473(?P<data>(?:{PAIR.pattern})*)\](?: (?P<text>.*))?")


@dataclass
class HttpInput:
    """`target` is that of the codec json: without one an event's fields stand at the top."""

    url: str = ""
    login: tuple[str, str] | None = None
    target: str = "sockbpf"
    is_full: Callable[[], bool] = lambda: False
    requests: int = 0
    events: list[Event] = field(default_factory=list)

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        raw = body_of(handler)
        self.requests += 1
        if self.login:
            token = base64.b64encode(":".join(self.login).encode()).decode()
            if "Authorization" not in handler.headers:
                say(401, b"", WWW_Authenticate='Basic realm="Logstash HTTP Input"')(handler)
                return
            if handler.headers["Authorization"] != f"Basic {token}":
                say(401, b"")(handler)
                return
        if self.is_full():
            say(429, b"")(handler)
            return
        body = gzip.decompress(raw) if handler.headers["Content-Encoding"] == "gzip" else raw
        is_json = handler.headers["Content-Type"].partition(";")[0] == "application/json"
        event: Event = json.loads(body) if is_json else {"message": body.decode()}
        if self.target:
            event = {self.target: event}
        # It adds the sender's address to `host`, as the Elastic Common Schema has it: no text can stand there.
        if isinstance(event.setdefault("host", {}), str):
            say(500, b"")(handler)
            return
        event["host"]["ip"] = handler.client_address[0]
        self.events.append(event)
        say(200, b"ok", Content_Type="text/plain")(handler)


@contextmanager
def http_input(**how: Any) -> Iterator[HttpInput]:
    made = HttpInput(**how)
    with http_server(made.answer) as served:
        made.url = f"http://127.0.0.1:{served.port}"
        yield made


@dataclass
class SyslogInput:
    """What has come, each as grok reads it; `unread` is what it does not match."""

    port: int
    sockets: list[socket.socket]
    events: list[Event] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)

    def alerts(self) -> list[dict[str, str]]:
        """Return the fields of each event's structured data."""
        return [data_of(event["message"])[1] for event in list(self.events)]

    def take(self, line: bytes) -> None:
        found = SYSLOGLINE.search(line.decode())
        if found:
            self.events.append(found.groupdict())
        else:
            self.unread.append(line.decode())

    def accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self.sockets[0].accept()
                self.sockets.append(connection)
                threading.Thread(target=self.read, args=(connection,), daemon=True).start()

    def read(self, connection: socket.socket) -> None:
        """Read lines: what no newline ends is none."""
        buffer = b""
        with suppress(OSError):
            while data := connection.recv(1024):
                *whole, buffer = (buffer + data).split(b"\n")
                for line in whole:
                    self.take(line)

    def receive(self) -> None:
        while data := self.sockets[1].recv(9000):
            self.take(data)

    def end(self) -> None:
        """Close all sockets: the port is free then."""
        for each in self.sockets:
            with suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
            each.close()


def data_of(message: str) -> tuple[str, dict[str, str]]:
    """Return a message's structured data, and its fields."""
    found = DATA.fullmatch(message)
    assert found, message
    return found["data"], {name: re.sub(r"\\(.)", r"\1", text) for name, text in PAIR.findall(found["data"])}


@contextmanager
def syslog_input(port: int = 0) -> Iterator[SyslogInput]:
    """Listen on one port by TCP and by UDP, as the input does."""
    tcp = socket.create_server(("127.0.0.1", port))
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(tcp.getsockname())
    made = SyslogInput(tcp.getsockname()[1], [tcp, udp])
    threads = [threading.Thread(target=each, daemon=True) for each in (made.accept, made.receive)]
    for thread in threads:
        thread.start()
    try:
        yield made
    finally:
        made.end()
        for thread in threads:
            thread.join(20)
