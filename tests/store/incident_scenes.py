# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Incidents of real programs, side by side, and what the page must say of each."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event, Thread

from tests.live.programs.hangs import MORE_THAN_A_BACKLOG, until_flowing
from tests.live.programs.more_hangs import QUERY
from tests.live.programs.place import LOOPBACK, Place
from tests.live.programs.servers import asyncio_server, dnsmasq, nginx, postgresql, psql, redis, stop

WATCHED = "web1"
"""The host on which they are."""
CLIENTS = 40
BULK_THRESHOLD = "64KiB"
"""Of the process of the bulk transfer alone, which crosses it with each part that it is sent."""

BULK = """
import sys, time
from http.client import HTTPConnection
open("/proc/self/comm", "w").write("bulk")
asked = HTTPConnection("127.0.0.1", int(sys.argv[1]))
while True:
    asked.request("GET", "/big", headers={"Range": "bytes=0-1048575"})
    answer = asked.getresponse()
    time.sleep(0.1)
    answer.read()
"""
"""A client that downloads without end, in parts: its queue fills and drains."""

SHOP = """
import socket, sys, time
open("/proc/self/comm", "w").write("shop")
clients = [socket.create_connection(("127.0.0.1", int(sys.argv[1]))) for _ in range(int(sys.argv[2]))]
for client in clients:
    client.setblocking(False)
while True:
    for client in clients:
        for call in (lambda: client.send(b"PING\\r\\n" * 701), lambda: client.recv(65536)):
            try:
                call()
            except BlockingIOError:
                pass
    time.sleep(0.01)
"""
"""Clients of redis that go on sending, whether it answers or not."""


@dataclass(frozen=True)
class Scene:
    """An incident that has begun, and what its card must say: texts and patterns of them."""

    name: str
    whose: str
    why: str
    sockets: int = 1
    also: tuple[str, ...] = ()
    host: str = WATCHED
    began_s: float = field(default_factory=time.time)

    @property
    def count(self) -> str:
        """What its card says of the number of its sockets."""
        return f"Show {self.sockets} socket{'s' * (self.sockets > 1)}" if self.sockets else ""


def download(place: Place) -> Scene:
    server = nginx(place)
    client = place.start(
        "curl", "-s", "-o", "/dev/null", f"http://{LOOPBACK}:{server.port}/big", "--limit-rate", "20M"
    )
    until_flowing(place, server.port)
    stop([client.pid], signal.SIGSTOP)
    return Scene(
        "a stopped client of nginx", "curl", r"curl \(pid \d+\) is stopped", also=("other end: nginx",)
    )


def copy(place: Place) -> Scene:
    """Have a client not read, since nobody reads what it writes."""
    server = postgresql(place)
    rows = "copy (select repeat('x', 1000) from generate_series(1, 100000000)) to stdout"
    reader = subprocess.list2cmdline(psql(server, "-c", rows))
    place.start("sh", "-c", f"{reader} | sleep 600")
    until_flowing(place, server.port, much=100_003)
    return Scene(
        "COPY to a client that does not read", "psql", r"psql \(pid \d+\) ", also=("other end: postgres",)
    )


def dead_database(place: Place) -> Scene:
    server = redis(place)
    place.start(sys.executable, "-c", SHOP, str(server.port), str(CLIENTS))
    until_flowing(place, server.port, much=100_003)
    stop(server.pids(), signal.SIGSTOP)
    return Scene(
        "a stopped redis with 40 clients", "redis-server", r"redis-server \(pid \d+\) is stopped", CLIENTS,
        also=("other end: shop",),
    )  # fmt: skip


def bulk_transfer(place: Place) -> Scene:
    server = nginx(place)
    client = place.start(sys.executable, "-c", BULK, str(server.port))
    until_flowing(place, server.port)
    assert client.poll() is None
    return Scene("a bulk transfer that flaps", "bulk", r"bulk \(pid \d+\) reads, but more slowly")


def drops(place: Place) -> Scene:
    server = dnsmasq(place)
    client = place.udp(server.port)
    client.send(QUERY)
    assert client.recv(1000)
    stop(server.pids(), signal.SIGSTOP)
    ended = Event()

    def ask() -> None:
        while not ended.wait(0.01):
            for _ in range(50):
                client.send(QUERY)

    asking = Thread(target=ask, daemon=True)
    asking.start()
    place.stack.callback(asking.join)
    place.stack.callback(ended.set)
    return Scene("a UDP server that drops", "dnsmasq", r"dnsmasq \(pid \d+\) is stopped", also=(" dropped",))


def full_listener(place: Place) -> Scene:
    server = asyncio_server(place, "listen")
    for _ in range(MORE_THAN_A_BACKLOG):
        place.knock(server.port)
    return Scene("a full accept queue", Path(sys.executable).name[:15], "accept", also=("conn of 128 conn",))


ALL: tuple[Callable[[Place], Scene], ...] = (
    download,
    copy,
    dead_database,
    bulk_transfer,
    drops,
    full_listener,
)
