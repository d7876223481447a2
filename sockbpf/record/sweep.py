# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The result of a sweep, a look at all sockets without any hook: sizes of queues, and where the sweep has looked."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sockbpf.record.event import Direction
from sockbpf.record.facts import UNKNOWN, Facts

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.record.event import Protocol, Socket


@dataclass(frozen=True, slots=True)
class Reading:
    """What a sweep read of one socket, bytes by direction; `unsure` bytes of RECV may have been read already."""

    socket: Socket
    sizes: dict[Direction, int]
    unsure: int = 0
    facts: dict[Direction, Facts] = field(default_factory=dict)
    """By direction; empty where the look does not show them."""

    left: Mapping[Direction, int] = field(default_factory=dict)
    """By direction a number that changes when something leaves the queue; absent where that is not known."""

    def facts_of(self, direction: Direction) -> Facts:
        """Return what is known of this queue besides its size."""
        return self.facts.get(direction, UNKNOWN)

    def surely(self, direction: Direction) -> int:
        """Return how many bytes are certainly in the queue: an episode begins only if these exceed the threshold."""
        return self.sizes[direction] - (self.unsure if direction is Direction.RECV else 0)


@dataclass(frozen=True, slots=True)
class Sweep:
    """A look at all sockets of some network namespaces, taken between two instants of CLOCK_MONOTONIC.

    `looked` names what was looked at: inode number of the namespace, and protocol. Sockets with empty queues may be
    left out, except those that were asked for by inode.
    """

    begun_ns: int
    ended_ns: int
    looked: frozenset[tuple[int, Protocol]]
    not_found: frozenset[int]
    """Namespaces that were asked for and that no process is in: removed, or kept alive by a socket only."""
    readings: tuple[Reading, ...]
    cpu_s: float = 0.0
    """The CPU time that it took, seconds."""
