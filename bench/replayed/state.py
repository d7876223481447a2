# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""One queue of a record at an instant, and how looks show it."""

from __future__ import annotations

import socket as sockets
from dataclasses import dataclass

from bench.replayed.record import NETNS, Queue, Service
from sockbpf.kernel.look.row import Detail, Row
from sockbpf.record.event import Direction, Protocol
from sockbpf.record.facts import Facts
from sockbpf.record.sweep import Reading

BUFFER = 64 * 2**20
ESTABLISHED, LISTENS = 1, 10
BACKLOG = 511


@dataclass(slots=True)
class State:
    """One queue as it is now."""

    queue: Queue
    address: int
    size: int = 0
    ns: int = 0
    stands_ns: int | None = None
    """Since when nothing leaves it; None: something does."""
    since_ns: int | None = None
    """When its episode began; None if none is open."""
    since_size: int = 0
    peak: int = 0
    levels: tuple[int, int, int] | None = None
    """Threshold, clear level, place of the rule, once these were asked for."""

    @property
    def facts(self) -> Facts:
        return Facts(BUFFER, min(self.size, BUFFER), ESTABLISHED)

    def is_of(self, protocol: Protocol) -> bool:
        return self.queue.socket.protocol is protocol

    @property
    def sizes(self) -> tuple[int, int]:
        """Of its socket, to send and received."""
        return (self.size, 0) if self.queue.direction is Direction.SEND else (0, self.size)

    def reading(self, now_ns: int) -> Reading:
        """Return what a sweep shows."""
        direction = self.queue.direction
        sizes = dict(zip((Direction.SEND, Direction.RECV), self.sizes, strict=True))
        left = {direction: now_ns if self.stands_ns is None else self.stands_ns}
        return Reading(self.queue.socket, sizes, 0, {direction: self.facts}, left)

    def row(self) -> Row:
        """Return what a look for the history shows."""
        socket, charged = self.queue.socket, min(self.size, BUFFER)
        send, recv = self.sizes
        return Row(
            family=sockets.AF_INET,
            local_port=socket.local_port.to_bytes(2, "big"),
            remote_port=socket.remote_port.to_bytes(2, "big"),
            local_ip=sockets.inet_aton(socket.local_ip),
            remote_ip=sockets.inet_aton(socket.remote_ip),
            recv=recv,
            send=send,
            inode=socket.inode,
            uid=socket.uid,
            detail=Detail(
                address=self.address,
                cookie=0,
                cgroup=socket.cgroup,
                state=ESTABLISHED,
                rcvbuf=BUFFER,
                rcv_charged=charged if recv else 0,
                sndbuf=BUFFER,
                snd_charged=charged if send else 0,
                drops=0,
                netns=NETNS,
            ),
        )


def listener_row(service: Service) -> Row:
    cgroup = service.queues[0].socket.cgroup
    detail = Detail(0, 0, cgroup, LISTENS, 0, 0, 0, 0, 0, NETNS)
    return Row(
        sockets.AF_INET,
        service.port.to_bytes(2, "big"),
        bytes(2),
        bytes(4),
        bytes(4),
        recv=0,
        send=BACKLOG,
        inode=service.port,
        uid=0,
        detail=detail,
    )
