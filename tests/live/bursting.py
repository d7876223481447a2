# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Bursts: a queue over its threshold for a moment."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack

from tests.live.receiver import Receiver
from tests.live.sockets import drain, port, ss, tcp_pair, udp_socket, unread
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
    reader, writer = udp_socket(stack, family), udp_socket(stack, family)

    def burst() -> None:
        for _ in range(datagrams):
            writer.sendto(bytes(DATAGRAM), reader.getsockname()[:2])
        for _ in range(datagrams):
            reader.recv(DATAGRAM)

    return reader, burst


def truesize(stack: ExitStack) -> int:
    """Return what one datagram counts in a queue on this kernel: the most of them at or under a threshold differs."""
    reader, writer = udp_socket(stack), udp_socket(stack)
    writer.sendto(bytes(DATAGRAM), reader.getsockname())
    return until(lambda: ss(reader)[0], "a datagram in the queue")  # type: ignore[no-any-return]


def expect(receiver: Receiver, reader: socket.socket, number: int) -> None:
    """Expect exactly this many episodes of the reader's queue, each with its beginning and end."""
    # By its address too: an earlier socket may have had its port.
    ip = reader.getsockname()[0]
    queue = {"local_ip": ip, "local_port": port(reader), "type": "RECV", "mode": "ebpf"}
    receiver.count(number, event="cleared", **queue)
    exceeded = receiver.alerts(event="exceeded", **queue)
    cleared = receiver.alerts(event="cleared", **queue)
    assert len(exceeded) == len(cleared) == number
    assert {alert["id"] for alert in exceeded} == {alert["id"] for alert in cleared}
    assert len({alert["id"] for alert in exceeded}) == number
    stood = sorted(float(alert["duration"]) for alert in cleared)
    print(f"{number} bursts; the middle one stood over for {stood[number // 2] * 1e6:.0f} µs")
