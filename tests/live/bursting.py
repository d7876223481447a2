# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Bursts: a queue over its threshold for a moment."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass

from sockbpf.kernel.look.netns import inside
from tests.live.network import DISCARD, slow_link
from tests.live.receiver import Receiver
from tests.live.running import first_to_run, one_cpu
from tests.live.sockets import charged, drain, port, ss, tcp_pair, udp_socket, unread, unsent
from tests.live.waiting import until

DATAGRAM = 1009
Burst = Callable[[], None]


def tcp_receive(stack: ExitStack, family: str, size: int) -> tuple[socket.socket, Burst]:
    """Return the reader, and a burst: bytes written and, as soon as all of them are there, read at once.

    A reader who waits would get them past the queue: before 4.14 segments are copied to him as they come.
    """
    client, server = tcp_pair(stack, family)

    def burst() -> None:
        client.sendall(bytes(size))
        until(lambda: unread(server) == size, "the whole burst in the queue")
        drain(server, size)
        # Else the writer's queue grows with the next burst.
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    return server, burst


def udp_receive(stack: ExitStack, family: str, datagrams: int) -> tuple[socket.socket, Burst]:
    stack.enter_context(one_cpu())
    reader, writer = udp_socket(stack, family), udp_socket(stack, family)
    post = Post(writer, reader)

    def burst() -> None:
        post.put(datagrams * (DATAGRAM,))
        for _ in range(datagrams):
            reader.recv(DATAGRAM)

    return reader, burst


class Post:
    """Puts datagrams into a UDP receive queue: on a busy machine the kernel does that only after the sending call."""

    def __init__(self, writer: socket.socket, reader: socket.socket) -> None:
        self.writer, self.reader = writer, reader
        self._charges: dict[int, int] = {}

    def put(self, sizes: tuple[int, ...]) -> None:
        """Send datagrams of these sizes, and wait until all of them stand in the queue."""
        whole = sum(self.charge(size) for size in sizes)
        before = charged(self.reader)
        for size in sizes:
            self.writer.sendto(bytes(size), self.reader.getsockname()[:2])
        until(lambda: charged(self.reader) - before == whole, "all datagrams in the queue")

    def charge(self, size: int) -> int:
        """Return what a datagram of this size is charged for."""
        if size not in self._charges:
            with ExitStack() as stack:
                other = stack.enter_context(socket.socket(self.reader.family, socket.SOCK_DGRAM))
                other.bind((self.reader.getsockname()[0], 0))
                self.writer.sendto(bytes(size), other.getsockname()[:2])
                self._charges[size] = until(lambda: charged(other), "a datagram in the queue")
        return self._charges[size]


def tcp_send(stack: ExitStack, size: int) -> tuple[socket.socket, Burst]:
    """Return the writer, and a burst: more than the peer's window takes, then all of it read and acknowledged."""
    client, server = tcp_pair(stack, rcvbuf=8192)
    client.setblocking(False)

    def burst() -> None:
        drain(server, client.send(bytes(size)))
        # Else a timer may send the last acknowledgement.
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        until(lambda: unsent(client) == 0, "everything acknowledged")

    return client, burst


BIG, SMALL = 1472, 1
"""Bytes of datagrams: that of a big one takes the device 1.2 ms, that of a small one 0.04 ms."""

RATE = "10mbit"

WELL_UNDER = 4096
"""More bytes than one datagram is counted for."""


@dataclass
class DeviceBursts:
    """Bursts into a device's queue, each drained before the next: while the device waits for a big one, all stay."""

    writer: socket.socket
    size: int
    repeated: int = 0
    """Bursts that were interrupted in time: something left while the queue was still well under."""
    uncertain: int = 0
    """Bursts of which something left at the last moment: they may have been over or not."""

    def __call__(self) -> None:
        while not self._try():
            self.repeated += 1

    def _try(self) -> bool:
        """Write a burst and have it leave; False if the queue was surely not over meanwhile."""
        before = 0
        with first_to_run():
            self.writer.send(bytes(BIG))  # takes what the device has saved while it was idle
            while unsent(self.writer):
                pass
            self.writer.send(bytes(BIG))
            held = unsent(self.writer)
            while before < held < self.size:
                self.writer.send(bytes(SMALL))
                before, held = held, unsent(self.writer)
        has_left, is_under = held <= before, before <= self.size - WELL_UNDER
        self.uncertain += has_left and not is_under
        while unsent(self.writer):  # the next burst follows at once
            os.sched_yield()
        return not (has_left and is_under)


def udp_send(stack: ExitStack, size: int) -> tuple[socket.socket, DeviceBursts]:
    """Return the writer, and bursts of at least this size."""
    link = stack.enter_context(slow_link(RATE))
    with inside(f"/run/netns/{link.sender}"):
        writer = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    writer.connect((link.far["ipv4"], DISCARD))
    return writer, DeviceBursts(writer, size)


def truesize(stack: ExitStack) -> int:
    """Return what one datagram counts in a queue on this kernel: the most of them at or under a threshold differs."""
    reader, writer = udp_socket(stack), udp_socket(stack)
    writer.sendto(bytes(DATAGRAM), reader.getsockname())
    return until(lambda: ss(reader)[0], "a datagram in the queue")  # type: ignore[no-any-return]


def expect(
    receiver: Receiver, sock: socket.socket, number: int, type_: str = "RECV", uncertain: int = 0
) -> None:
    """Expect exactly this many episodes of one queue of a socket, each with its beginning and end.

    Of `uncertain` bursts each may have been over twice, or never.
    """
    # By its address too: an earlier socket may have had its port.
    ip = sock.getsockname()[0]
    queue = {"local_ip": ip, "local_port": port(sock), "type": type_, "mode": "ebpf"}

    def ids(event: str) -> list[str]:
        return sorted(alert["id"] for alert in receiver.alerts(event=event, **queue))

    until(
        lambda: len(ids("cleared")) >= number - uncertain and ids("exceeded") == ids("cleared"),
        lambda: f"{len(ids('exceeded'))} begun and {len(ids('cleared'))} ended of {number}: {queue}",
    )
    ended = ids("cleared")
    assert abs(len(ended) - number) <= uncertain
    assert len(set(ended)) == len(ended)
    stood = sorted(float(alert["duration"]) for alert in receiver.alerts(event="cleared", **queue))
    print(f"{len(ended)} bursts; the middle one stood over for {stood[len(stood) // 2] * 1e6:.0f} µs")
