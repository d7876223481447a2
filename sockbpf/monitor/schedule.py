# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which work of the loop is due, and how long it may sleep until then. Pure: the clock is an argument.

All instants and spans are seconds of CLOCK_MONOTONIC. Work whose instant has passed stays due until it is taken.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

SWEEP_SHARE = 20
"""Sweeps take at most one part in this many of the time."""

LOOKS_AFTER = 2
"""So many looks at the open episodes follow the last event."""

SETTLE_S = 0.005
"""So long after hooks on demand were attached what drained before is looked for: by then they see the rest."""

TIDY_S = 1
"""While alerts are delivered: the interval at which the monitor's own closed sockets are forgotten."""

APART_S = 1.0
"""So long lies at least between two sweeps of all sockets for the sake of queues that may have stalled."""

IDLE_S = 60
"""How long the loop may sleep when nothing is due."""

BUSY_S = 0.1
"""While a reload waits: the interval between two looks whether requests by earlier settings have ended."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The intervals of the loop's work, as the settings say."""

    sweep_s: float
    look_s: float
    heartbeat_s: float
    """Infinity: never."""


@dataclass(frozen=True, slots=True)
class Waits:
    """What decides how long the loop may sleep, besides the schedule."""

    due_s: float = math.inf
    """When the service manager's watchdog must be notified; infinity: never."""
    due_ns: tuple[int | None, ...] = ()
    """The instants at which parts of the monitor must be called, nanoseconds; None: that part waits for none."""
    sweeping: bool = False
    """A sweep is under way: its end wakes the loop."""
    delivering: bool = False
    """Alerts are owed: each delivery may take a socket of the monitor's own."""
    watching: bool = False
    """An episode is open, or hooks on demand are attached."""
    reloading: bool = False
    """New settings wait until requests by earlier settings have ended."""


class Schedule:
    """The instants at which the loop's own work is due."""

    def __init__(self, timing: Timing, now_s: float) -> None:
        """Begin with a sweep and a look that are due now."""
        self._timing = timing
        self._sweep_s = self._look_s = self._tidy_s = self._rested_s = now_s
        self.looked_s = -math.inf
        """When the last sweep that did not fail ended; before the first one, long ago."""
        self._begun_s = -math.inf
        """When the last sweep of all sockets began."""
        self._heartbeat_s = now_s + timing.heartbeat_s
        self._settled_s = math.inf
        """When what drained before hooks on demand were attached is looked for; infinity: none were."""
        self._heard_s = -math.inf
        """When the last event was read: for a while after it the kernel's table may hold episodes without one."""

    @property
    def timing(self) -> Timing:
        """The intervals that apply."""
        return self._timing

    def use_timing(self, timing: Timing, now_s: float) -> None:
        """Use other intervals: a sweep is due at once, the next heartbeat a whole interval from now."""
        self._timing = timing
        self._sweep_s = now_s
        self._heartbeat_s = now_s + timing.heartbeat_s

    def pause_s(self, now_s: float, waits: Waits) -> float:
        """Return how long the loop may sleep."""
        asked_s = (ns / 1e9 for ns in waits.due_ns if ns is not None)
        due_s = min(now_s + IDLE_S, waits.due_s, self._heartbeat_s, self._settled_s, *asked_s)
        if not waits.sweeping:
            due_s = min(due_s, self._sweep_s)
            if waits.delivering:
                due_s = min(due_s, self._tidy_s)
        if waits.watching or now_s - self._heard_s <= LOOKS_AFTER * self._timing.look_s:
            due_s = min(due_s, self._look_s)
        if waits.reloading:
            due_s = min(due_s, now_s + BUSY_S)
        return max(due_s - now_s, 0.0)

    def heard(self, now_s: float) -> None:
        """Take note that an event was read."""
        self._heard_s = now_s

    def look_at(self, now_s: float) -> None:
        """Make the next look at the open episodes due now."""
        self._look_s = now_s

    def settle(self, now_s: float) -> None:
        """Take note that hooks on demand were attached now: what drained before is looked for soon, by them first."""
        self._settled_s = now_s + SETTLE_S
        self._look_s = max(self._look_s, self._settled_s)

    def take_settled(self, now_s: float) -> bool:
        """Tell whether it is to be looked now for what drained before hooks on demand were attached."""
        if now_s < self._settled_s:
            return False
        self._settled_s = math.inf
        return True

    def sweep_at(self, now_s: float) -> None:
        """Make the next sweep due now."""
        self._sweep_s = now_s

    def sweep_by(self, due_s: float) -> None:
        """Make the next sweep due at this instant, unless it is due before; but soon after the last one."""
        self._sweep_s = min(self._sweep_s, max(due_s, self._rested_s, self._begun_s + APART_S))

    def sweep_ended(self, now_s: float, cost_s: float) -> None:
        """Take note that a sweep took this long: the next begins only when that is a small share of the time."""
        self.looked_s = now_s
        self._rested_s = now_s + cost_s * SWEEP_SHARE
        self._sweep_s = max(self._sweep_s, self._rested_s)

    def has_rested(self, now_s: float) -> bool:
        """Tell whether a sweep of the open episodes alone may begin: sweeps have taken a small share of the time.

        Not while the hooks on demand were just attached: what drained before is theirs to end.
        """
        return now_s >= self._rested_s and self._settled_s == math.inf

    def is_sweep_due(self, now_s: float) -> bool:
        return now_s >= self._sweep_s

    def sweep_begins(self, now_s: float) -> None:
        """Take note that a sweep of all sockets begins."""
        self._begun_s = now_s
        self._sweep_s = now_s + self._timing.sweep_s

    def take_tidying(self, now_s: float) -> bool:
        """Tell whether the monitor's own closed sockets are to be forgotten now; if so, it is due again later."""
        if now_s < self._tidy_s:
            return False
        self._tidy_s = now_s + TIDY_S
        return True

    def take_look(self, now_s: float) -> bool:
        """Tell whether the open episodes are to be looked at now; if so, a look is due again later."""
        if now_s < self._look_s:
            return False
        self._look_s = now_s + self._timing.look_s
        return True

    def take_heartbeat(self, now_s: float) -> bool:
        """Tell whether a heartbeat is to be sent now; if so, one is due again later."""
        if now_s < self._heartbeat_s:
            return False
        self._heartbeat_s = now_s + self._timing.heartbeat_s
        return True
