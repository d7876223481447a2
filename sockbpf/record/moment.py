# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What one look of `sockbpf top` saw: the sockets that hold something, and what the running monitor says is over."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sockbpf.record.socket_row import SocketRow

Ends = tuple[str, str, int, str, int, int]
"""Protocol, local address and port, remote address and port, network namespace: what a status names a socket by."""


def ends_of(row: SocketRow) -> Ends:
    """Return by what a status names this socket."""
    socket = row.socket
    local = (socket.protocol.name.lower(), socket.local_ip, socket.local_port)
    return (*local, socket.remote_ip, socket.remote_port, socket.netns)


@dataclass(frozen=True, slots=True)
class OpenEpisode:
    """One open episode as the monitor shows it."""

    ends: Ends | None
    """None: it is none of a single socket, but of a counter."""
    type: str
    condition: str
    severity: str
    rule: str
    size: int
    threshold: int
    since_s: float
    """Unix time."""
    held: bool
    """The queue has not been over for long enough for an alert."""
    name: str = ""
    """Of a counter: its name."""
    cause: str = ""
    """The latest one; empty where none is known."""
    reason: str = ""
    """It as a sentence."""
    silenced: bool = False
    """`sockbpf silence` keeps it from being told."""


@dataclass(frozen=True, slots=True)
class Told:
    """What the monitor says is over. It names the worst only: `more` it does not name."""

    episodes: tuple[OpenEpisode, ...]
    more: int = 0
    blind: tuple[str, ...] = ()
    """Why what is over may not be known."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a look is to find: all sockets that hold something, or the worst; and of how many whose they are.

    `named` None: of all. `inodes` are sockets that are to be among the rows in any case.
    """

    is_all: bool = True
    named: int | None = None
    inodes: frozenset[int] = frozenset()

    def is_more_than(self, other: Wanted) -> bool:
        """Tell whether a look that found the other leaves something to find."""
        return self.is_all > other.is_all or (self.named is None and other.named is not None)


@dataclass(frozen=True, slots=True)
class Rest:
    """The sockets that hold something and are not among the rows: how many, how many of them are over, which."""

    sockets: int = 0
    over: int = 0
    """By the thresholds."""
    inodes: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Moment:
    """One look. `at_s` is the monotonic time at its end, `unix_s` the Unix time; None: no monitor answers."""

    at_s: float
    unix_s: float
    rows: Sequence[SocketRow]
    told: Told | None = None
    every_s: float = 1.0
    """The time from this look to the next one."""
    notes: tuple[str, ...] = field(default=())
    """What could not be looked at."""
    rest: Rest = field(default_factory=Rest)
