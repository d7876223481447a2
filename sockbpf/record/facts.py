# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What an alert says of a queue besides its size: what was over, how full its buffer is, the socket's state."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Condition(Enum):
    """What was over."""

    SIZE = "size"
    """More bytes than the threshold."""
    FILL = "fill"
    """More of the buffer in use than the threshold, which is a share of it."""
    ACCEPT = "accept"
    """More connections wait to be accepted than the threshold, or the accept queue has overflowed."""
    STALLED = "stalled"
    """It holds something, and nothing has left it for a while."""
    RATE = "rate"
    """A counter of the network namespace rose faster than the threshold."""


@dataclass(frozen=True, slots=True)
class Fill:
    """A threshold that is a share of the buffer, percent; `Facts.fill` is compared with it."""

    percent: int


class Severity(Enum):
    """How bad that is for whoever is called."""

    WARNING = "warning"
    CRITICAL = "critical"


STATES = {
    1: "ESTAB", 2: "SYN-SENT", 3: "SYN-RECV", 4: "FIN-WAIT-1", 5: "FIN-WAIT-2", 6: "TIME-WAIT", 7: "UNCONN",
    8: "CLOSE-WAIT", 9: "LAST-ACK", 10: "LISTEN", 11: "CLOSING",
}  # fmt: skip
"""The states of TCP as `ss` spells them, by the kernel's number (include/net/tcp_states.h)."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What was read of a queue with its size. `limit` and `charged` are bytes; of ACCEPT backlog and connections.

    `charged` is what the kernel compares with `limit`, the size of the buffer, when it decides to close the window,
    to block the writer or to drop: RECV sk_rmem_alloc and sk_rcvbuf, SEND sk_wmem_queued (UDP: sk_wmem_alloc) and
    sk_sndbuf.
    """

    limit: int = 0
    """0: not known."""
    charged: int = 0
    state: int = 0
    """The number of the TCP state; 0: not known, or no TCP."""
    drops: int | None = None
    """How much was dropped since the episode began; None: not known, or nothing that could be dropped is counted."""
    drops_before: int | None = None
    """The socket's count of drops when the episode began, modulo 2^32; None where only sweeps have seen it."""

    @property
    def fill(self) -> int | None:
        """Percent of the buffer in use, rounded down; None if that is not known."""
        return self.charged * 100 // self.limit if self.limit else None

    def is_filled_beyond(self, percent: int) -> bool:
        """Tell whether more than this share of the buffer is in use, exactly; not where the buffer is not known."""
        return self.charged * 100 > self.limit * percent


UNKNOWN = Facts()
