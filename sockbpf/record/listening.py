# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The result of a look at all listeners: how many connections wait to be accepted, and how many were dropped."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.record.event import Socket


Place = tuple[int, int]
"""Network namespace and cookie: the one name that a listener keeps and never shares."""


@dataclass(frozen=True, slots=True)
class Listener:
    """One TCP listener; `cookie` is a number that no other socket of its namespace ever has."""

    socket: Socket
    cookie: int
    waiting: int
    """Connections that wait to be accepted: sk_ack_backlog."""
    limit: int
    """Its backlog, sk_max_ack_backlog: so many and one more may wait."""
    drops: int | None
    """What it has dropped since it was made, modulo 2^32: connections, but also stray segments. None: not counted."""
    is_own: bool = False
    """Whether it is one of the monitor's own."""
    connections: frozenset[int] = frozenset()
    """The cookies of connections to its port that wait to be accepted, if they were asked for."""

    @property
    def place(self) -> Place:
        return self.socket.netns, self.cookie

    @property
    def is_full(self) -> bool:
        """Whether the kernel drops the next connection (include/net/sock.h, sk_acceptq_is_full)."""
        return self.waiting > self.limit


@dataclass(frozen=True, slots=True)
class ListenLook:
    """A look at the listeners of all network namespaces, between two instants of CLOCK_MONOTONIC."""

    begun_ns: int
    ended_ns: int
    places: frozenset[int]
    """The namespaces that there are."""
    overflows: Mapping[int, int]
    """Namespace that was looked at -> its count of ListenOverflows, read after its listeners."""
    listeners: tuple[Listener, ...]
