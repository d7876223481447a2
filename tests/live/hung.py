# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Services that hang, on real sockets; and what the metrics of a monitor show of them."""

from __future__ import annotations

import random
import socket
import time
import urllib.request
from contextlib import ExitStack, suppress
from pathlib import Path

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from tests.live.ports import free_port
from tests.live.sockets import inode, ss
from tests.live.waiting import DEADLINE_S

UNREAD = 30_011
BACKLOG = 1
DATAGRAM = bytes(2003)


class Hung:
    """A TCP service that reads nothing of its one connection, and accepts no more; a UDP service that reads nothing.

    At `deaf_port` is one that accepts nothing, and has room for more.
    """

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.tcp_port, self.udp_port, self.deaf_port, self.busy_port = (free_port() for _ in range(4))
        self.listener = stack.enter_context(
            socket.create_server(("127.0.0.1", self.tcp_port), backlog=BACKLOG)
        )
        self.client = self.connect()
        self.reader = stack.enter_context(self.listener.accept()[0])
        self.udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        self.udp.bind(("127.0.0.1", self.udp_port))
        self.client.sendall(bytes(UNREAD))
        for _ in range(BACKLOG + 1):
            self.connect()
        stack.enter_context(socket.create_server(("127.0.0.1", self.deaf_port)))
        stack.enter_context(socket.create_connection(("127.0.0.1", self.deaf_port)))
        self.fill_udp()

    def connect(self, *, waits: bool = True) -> socket.socket:
        made = self._stack.enter_context(socket.socket())
        made.setblocking(waits)
        with suppress(BlockingIOError):
            made.connect(("127.0.0.1", self.tcp_port))
        return made

    def send(self, number: int) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for _ in range(number):
                sender.sendto(DATAGRAM, ("127.0.0.1", self.udp_port))

    def fill_udp(self) -> None:
        before = -1
        while before != (before := ss(self.udp)[0]):
            self.send(1)


def busy_for(seconds: float, hung: Hung) -> None:
    """Have the UDP service drop now and then, and another service read its one connection by fits and starts."""
    chance = random.Random(7)
    with (
        socket.create_server(("127.0.0.1", hung.busy_port)) as server,
        socket.create_connection(("127.0.0.1", hung.busy_port)) as client,
        server.accept()[0] as reader,
    ):
        client.setblocking(False)
        reader.setblocking(False)
        end_s = time.monotonic() + seconds
        while time.monotonic() < end_s:
            with suppress(BlockingIOError):
                client.send(bytes(chance.randrange(60_000)))
            with suppress(BlockingIOError):
                reader.recv(chance.choice((1, 1 << 20, 50_000)))
            hung.send(chance.randrange(3))
            time.sleep(0.4)


def udp_drops(sock: socket.socket) -> int:
    """Return how many datagrams the kernel has dropped of this socket."""
    for line in Path("/proc/net/udp").read_text().splitlines()[1:]:
        columns = line.split()
        if int(columns[9]) == inode(sock):
            return int(columns[12])
    raise AssertionError("it is not there")


def scraped(listen: str) -> str:
    with urllib.request.urlopen(f"http://{listen}/metrics", timeout=DEADLINE_S) as answer:
        return str(answer.read().decode())


def families(listen: str) -> dict[str, Metric]:
    return {family.name: family for family in text_string_to_metric_families(scraped(listen))}
