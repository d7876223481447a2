# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is known of a queue that is over, and what a row of the table of causes is. Pure: no I/O, no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sockbpf.record.event import Direction, Protocol
from sockbpf.record.facts import Condition
from sockbpf.record.why import Cause, Confidence

if TYPE_CHECKING:
    from sockbpf.record.alert import Notice
    from sockbpf.record.closeup import Closeup, Thread
    from sockbpf.record.peer import Peer

STILL_NS = 10**9
"""So long nothing must have left a queue before it is said to stand still."""


@dataclass(frozen=True, slots=True)
class Symptoms:
    """What is known of a queue that is over: `now` was read for this alert, `before` for an earlier one.

    `before` is the first look since which nothing has left the queue up to the look before this one.
    """

    notice: Notice
    now: Closeup
    before: Closeup | None
    threads: tuple[Thread, ...] = ()
    """Of the process that holds the socket, where it is known."""
    peer: Peer | None = None
    """The other end, where it is on this host."""

    stood_still_s: float = 0.0
    """For how long looks at all sockets have shown that nothing has left the queue, where they have."""

    @property
    def direction(self) -> Direction:
        return self.notice.direction

    @property
    def is_udp(self) -> bool:
        return self.notice.socket is not None and self.notice.socket.protocol is Protocol.UDP

    @property
    def is_stalled(self) -> bool:
        return self.notice.condition is Condition.STALLED

    @property
    def held_s(self) -> float:
        """How long the episode lasts."""
        return max(self.now.ns - self.notice.since_ns, 0) / 1e9

    @property
    def held(self) -> int:
        """What stands in the queue now."""
        return self.now.send if self.direction is Direction.SEND else self.now.recv

    @property
    def is_there(self) -> bool:
        """Whether the facts are those of this episode: what was over is still there for the most part."""
        return self.held * 2 > self.notice.size

    def left(self) -> int | None:
        """Return how many bytes have left the queue since the look before; None if not known, or too soon."""
        if self.before is None:
            return None
        before, now = self.before.left(self.direction), self.now.left(self.direction)
        if before is None or now is None:
            return None
        return now - before if now != before or self.now.ns - self.before.ns >= STILL_NS else None

    def still_for_s(self) -> float | None:
        """Return how long certainly nothing has left the queue; None if something did, or that is not known."""
        if self.is_stalled:
            return self.held_s
        if self.before is None or self.now.left(self.direction) is None:
            return self.stood_still_s if self.stood_still_s * 1e9 >= STILL_NS else None
        return max(self.looked_for_s, self.stood_still_s) if self.left() == 0 else None

    @property
    def looked_for_s(self) -> float:
        """How long ago the look before was."""
        return (self.now.ns - self.before.ns) / 1e9 if self.before else 0.0

    def grew(self, clock: str) -> bool:
        """Tell whether a clock of struct tcp_info ran since the look before; before that, whether it ever did."""
        now = getattr(self.now.tcp, clock, None)
        before = getattr(self.before.tcp, clock, None) if self.before else None
        return now is not None and now > (before or 0)


Found = tuple[Confidence, str] | None
"""How sure a cause is, with its sentence; None where the symptoms are not those of the cause."""

Row = tuple[Cause, Callable[[Symptoms], Found]]
"""One cause, and what tells whether it is this."""
