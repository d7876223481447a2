# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a record holds: services, their queues, and how large each was at each instant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from typing import NamedTuple

from sockbpf.record.event import Direction, Protocol, Socket

S = 10**9
NETNS = 4_026_531_840
"""Of all sockets of a record."""
FIRST_INODE, FIRST_PID = 1_000_000_000, 5_000_000
"""No process has such a number: what is asked of /proc about it is not known."""


class Change(NamedTuple):
    """From an instant on, nanoseconds since the record began, a queue has a size, bytes."""

    at_ns: int
    size: int
    stands: bool = False
    """Whether nothing leaves it until the next change."""


@dataclass(frozen=True)
class Queue:
    socket: Socket
    direction: Direction
    pid: int
    comm: str
    changes: Sequence[Change]


@dataclass(frozen=True)
class Service:
    """What a host has at one port."""

    name: str
    port: int
    queues: tuple[Queue, ...]
    unit: str = ""
    """Of which it is, by its cgroup; empty: of none."""

    @property
    def kind(self) -> tuple[str, str]:
        """Protocol and type, which are the same for all of its queues."""
        first = self.queues[0]
        return first.socket.protocol.name.lower(), first.direction.name


Made = tuple[str, Sequence[Change]]
"""The process that holds a queue, and the changes of it."""


class Sockets:
    """Makes sockets that are like no other."""

    def __init__(self) -> None:
        self._numbers = count()

    def service(
        self,
        name: str,
        port: int,
        made: Iterable[Made],
        *,
        direction: Direction = Direction.SEND,
        protocol: Protocol = Protocol.TCP,
        unit: str = "",
        cgroup: int = 0,
    ) -> Service:
        queues = (
            Queue(self._socket(port, protocol, cgroup), direction, 0, comm, changes) for comm, changes in made
        )
        owned = tuple(replace(each, pid=_pid_of(each.socket)) for each in queues)
        return Service(name, port, owned, unit)

    def copied(self, service: Service, port: int) -> Service:
        """Return the same at another port, of other processes and other clients, and of no unit."""
        made = ((queue.comm, queue.changes) for queue in service.queues)
        first = service.queues[0]
        return self.service(
            service.name, port, made, direction=first.direction, protocol=first.socket.protocol
        )

    def _socket(self, port: int, protocol: Protocol, cgroup: int) -> Socket:
        number = next(self._numbers)
        remote_ip = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        inode = FIRST_INODE + number
        return Socket(protocol, "192.0.2.1", port, remote_ip, 40_009, NETNS, inode, uid=0, cgroup=cgroup)


def _pid_of(socket: Socket) -> int:
    return FIRST_PID + socket.inode - FIRST_INODE


class Pulse(NamedTuple):
    """A queue fills to a size and drains; seconds since the record began."""

    at_s: float
    lasts_s: float
    size: int
    stands: bool = False


MOVES = ((0.0, 0.7), (0.1, 1.0), (0.6, 0.85), (1.0, 0.0))
STANDS = ((0.0, 0.7), (0.1, 1.0), (1.0, 0.0))
"""At which part of a pulse the queue has which share of its size."""


def changes_of(pulses: Iterable[Pulse]) -> list[Change]:
    """Return the changes of a queue that is empty between its pulses; one that begins in another is left out."""
    changes: list[Change] = []
    for at_s, lasts_s, size, stands in sorted(pulses):
        at_ns = int(at_s * S)
        if changes and at_ns <= changes[-1].at_ns:
            continue
        for part, share in STANDS if stands else MOVES:
            changes.append(Change(at_ns + int(part * lasts_s * S), int(size * share), stands))
    return changes


def merged(services: Iterable[Service]) -> tuple[list[Queue], list[tuple[int, int, int, bool]]]:
    """Return the queues, and all changes by time: instant, place of the queue, size, whether it stands then."""
    queues = [queue for service in services for queue in service.queues]
    return queues, sorted(_all(queues))


def _all(queues: Sequence[Queue]) -> Iterator[tuple[int, int, int, bool]]:
    for place, queue in enumerate(queues):
        for change in queue.changes:
            yield change.at_ns, place, change.size, change.stands
