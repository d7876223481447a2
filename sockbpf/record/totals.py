# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""All sockets of a host in a few figures."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.record.event import Direction, Protocol
    from sockbpf.record.socket_row import SocketRow


@dataclass(frozen=True, slots=True)
class Memory:
    """What the kernel uses for the sockets of one protocol, bytes, and its three limits of that (`tcp_mem`)."""

    used: int
    low: int
    pressure: int
    """From here on buffers grow no more."""
    high: int
    """More is not to be had."""


@dataclass(frozen=True, slots=True)
class Totals:
    """The figures of one moment."""

    namespaces: int
    states: Mapping[Protocol, Mapping[int, int]]
    """How many sockets there are, by the kernel's number of the state."""
    sizes: Mapping[tuple[Protocol, Direction], int]
    """Bytes in all queues; of ACCEPT connections."""
    over: int
    """How many sockets are over."""
    nearest: tuple[SocketRow, ...]
    """Those that are furthest over or nearest to it, worst first."""
    listeners: int
    fullest: SocketRow | None
    """The listener whose accept queue is fullest; None: nobody waits anywhere."""
    memory: Mapping[Protocol, Memory]
    counters: Mapping[str, tuple[int, float]]
    """By `nstat`'s name: the sum over all network namespaces, and how much it grows a second now."""
