# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Hooks that are attached only while an open episode needs them, because every packet passes them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from sockbpf.record.event import Direction, Protocol, What

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sockbpf.record.event import Event

KEPT_S = 60
"""How long the hooks stay attached after the last episode that needs them."""

RETRY_S = 1
"""When hooks that could not be attached are tried again, at the earliest."""

Queues = tuple[Protocol, Direction]
"""A kind of queues."""

QUEUES: dict[str, Queues] = {
    "TCP send shrinks": (Protocol.TCP, Direction.SEND),
    "TCP receive shrinks": (Protocol.TCP, Direction.RECV),
    "UDP send shrinks": (Protocol.UDP, Direction.SEND),
    "UDP receive shrinks": (Protocol.UDP, Direction.RECV),
}
"""What hooks on demand see, as kernel/build/hooks.py names it, and the queues whose episodes need it."""


class Demand:
    """One group of hooks on demand; instants are seconds of CLOCK_MONOTONIC."""

    def __init__(self, queues: Queues, attach: Callable[[bool], bool], kept_s: float = KEPT_S) -> None:
        """Begin detached. Episodes of `queues` need the hooks.

        `attach(True)` attaches them and returns whether it could, `attach(False)` detaches them; they are kept for
        `kept_s` after the last need.
        """
        self._queues = queues
        self._attach = attach
        self._kept_s = kept_s
        self._refused_s = -math.inf
        self._needed_s: float | None = None
        """When they were last needed; None while they are detached."""

    @property
    def attached(self) -> bool:
        return self._needed_s is not None

    def on_event(self, event: Event, now_s: float) -> bool:
        """Attach the hooks if this event's episode needs them.

        Return whether that was done: the queue may have drained meanwhile, unseen.
        """
        is_ours = (event.socket.protocol, event.direction) == self._queues
        return is_ours and event.what in (What.OVER, What.UNSURE) and self._meet(now_s)

    def rest(self, over: Collection[Queues], now_s: float) -> bool:
        """Detach the hooks when none of the open episodes has needed them for a while; attach them if one does.

        `over` are the kinds of queues that have an open episode: it has no event if a sweep found it, or if the event
        was lost. Return whether they were attached.
        """
        if self._queues in over:
            return self._meet(now_s)
        if self._needed_s is not None and now_s - self._needed_s > self._kept_s:
            self._needed_s = None
            self._attach(False)
        return False

    def _meet(self, now_s: float) -> bool:
        """Attach them if they are not; return whether that was done."""
        if self.attached:
            self._needed_s = now_s
            return False
        if now_s - self._refused_s < RETRY_S:
            return False
        if not self._attach(True):
            self._refused_s = now_s
            return False
        self._needed_s = now_s
        return True
