# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Hooks that are attached only while an open episode needs them, because every packet passes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockbpf.record.event import Direction, Protocol, What

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sockbpf.judge.policy import Episode
    from sockbpf.record.event import Event

KEPT_S = 60
"""How long the hooks stay attached after the last episode that needs them."""


def is_udp_send(queue: Event | Episode) -> bool:
    """Return whether this is the send queue of a UDP socket: only the hot hooks see such a queue drain."""
    return queue.socket.protocol is Protocol.UDP and queue.direction is Direction.SEND


class Demand:
    """One group of hooks on demand; instants are seconds of CLOCK_MONOTONIC."""

    def __init__(self, needs: Callable[[Event | Episode], bool], attach: Callable[[bool], None]) -> None:
        """Begin detached. `needs` says whether a queue needs the hooks; `attach(False)` detaches them."""
        self._needs = needs
        self._attach = attach
        self._needed_s: float | None = None
        """When they were last needed; None while they are detached."""

    @property
    def attached(self) -> bool:
        return self._needed_s is not None

    def on_event(self, event: Event, now_s: float) -> bool:
        """Attach the hooks if this event's episode needs them.

        Return whether that was done: the queue may have drained meanwhile, unseen.
        """
        if event.what is not What.OVER or not self._needs(event):
            return False
        is_new = not self.attached
        if is_new:
            self._attach(True)
        self._needed_s = now_s
        return is_new

    def rest(self, episodes: Iterable[Episode], now_s: float) -> None:
        """Detach the hooks when none of the open episodes has needed them for a while."""
        if self._needed_s is None:
            return
        if any(map(self._needs, episodes)):
            self._needed_s = now_s
        elif now_s - self._needed_s > KEPT_S:
            self._needed_s = None
            self._attach(False)
