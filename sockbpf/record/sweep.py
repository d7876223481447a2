# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a look at all sockets found, without any hook: sizes of queues, and which sockets were looked at."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sockbpf.record.event import Direction

if TYPE_CHECKING:
    from sockbpf.record.event import Protocol, Socket


@dataclass(frozen=True, slots=True)
class Reading:
    """What a sweep read of one socket, bytes by direction; `unsure` bytes to receive may be there no more."""

    socket: Socket
    sizes: dict[Direction, int]
    unsure: int = 0

    def surely(self, direction: Direction) -> int:
        """Return the bytes that are certainly in the queue: to begin an episode with they must be over."""
        return self.sizes[direction] - (self.unsure if direction is Direction.RECV else 0)


@dataclass(frozen=True, slots=True)
class Sweep:
    """A look at all sockets of some network namespaces, taken between two instants of CLOCK_MONOTONIC.

    `looked` says at which: inode number and protocol. Sockets with empty queues may be left out, but for those that
    were asked for by inode.
    """

    begun_ns: int
    ended_ns: int
    looked: frozenset[tuple[int, Protocol]]
    not_found: frozenset[int]
    """Namespaces that were asked for and no process is in: removed, or held by a socket alone."""
    readings: tuple[Reading, ...]
