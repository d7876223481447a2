# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""One socket as people see it in a list: its queues at one moment, whose it is; and which sockets are asked for."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sockbpf.record.facts import UNKNOWN, Condition, Facts
from sockbpf.record.rule import Match

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.record.event import Direction, Socket
    from sockbpf.record.why import Why


@dataclass(frozen=True, slots=True)
class QueueNow:
    """One queue of a socket at one moment, bytes; of ACCEPT connections."""

    size: int
    facts: Facts = UNKNOWN
    threshold: int | None = None
    """The one that applies, in the unit of `size`; None: none does, a rule ignores the queue."""
    condition: Condition = Condition.SIZE
    """What is compared with the threshold: `size`, of FILL what is charged to the buffer."""
    is_over: bool = False


@dataclass(frozen=True, slots=True)
class Whose:
    """Whose a socket is, as far as it is known; 0 and empty where it is not."""

    pid: int = 0
    comm: str = ""
    user: str = ""
    """The name of the user who made it."""
    cgroup: str = ""
    """The path of the socket's own cgroup, that of the process that made it; else of the one that holds it."""
    netns_name: str = ""
    """The name of its network namespace, if that has one."""
    process_cgroup: str = ""
    """The path of the cgroup of the process that holds it."""
    cmdline: str = ""
    """The command line of that process, where it is asked for, as it may be shown."""
    container_name: str = ""
    """The name of the container that it lives in, where somebody was asked for it."""

    @property
    def home(self) -> str:
        """The path that says the unit and the container: of the process that holds the socket, else the socket's.

        They differ where another made the socket and handed it on, as systemd does with those of its socket units.
        """
        return self.process_cgroup or self.cgroup


NOBODY = Whose()


NOTHING: Mapping[Any, Any] = MappingProxyType({})
"""One for all: there are very many rows."""


@dataclass(frozen=True, slots=True)
class SocketRow:
    """One row of a list of sockets."""

    socket: Socket
    state: int
    """The number of the TCP state; 0: not known, or no TCP."""
    queues: Mapping[Direction, QueueNow]
    """SEND and RECV; of a listener ACCEPT alone."""
    drops: int | None = None
    """How much the socket has dropped since it was made, as `ss -m` shows it; None: not known."""
    whose: Whose = NOBODY
    left: Mapping[Direction, int] = field(default_factory=dict)
    """How many bytes have left each queue, from any beginning, where the look shows it."""
    age_ms: Mapping[Direction, int] = field(default_factory=lambda: NOTHING)
    """How long ago each queue last moved, where a close look has shown it."""
    whys: Mapping[Direction, Why] = field(default_factory=lambda: NOTHING)
    """Why a queue is over, where a close look has been taken."""


@dataclass(frozen=True, slots=True)
class Asked:
    """Which sockets are asked for: one of the matches must fit, and the TCP state be one of these.

    No states: any will do.
    """

    matches: tuple[Match, ...] = field(default=(Match(),))
    states: frozenset[int] = frozenset()
