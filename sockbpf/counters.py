# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Every place where something can be lost or mended has a counter here, and all of them are shown."""

from __future__ import annotations

import threading
from collections import Counter

NAMES = {
    # what the hooks said
    "events": "queue events read from the kernel",
    "lost_submit": "events the kernel side could not put into the perf buffer",
    "lost_ring": "the same loss as the reader of the perf buffer sees it, told by the kernel's own count",
    "undecodable": "events whose bytes could not be read as an event",
    "episodes_full": "crossings not followed in the kernel because its table was full",
    "untold": "short crossings that were not reported because their user had too many of them in a second",
    "unreturned": "UDP sending calls whose return probe the kernel skipped: the growth of their queue was not seen",
    # what the sweeps mended
    "sweeps": "dumps of the sockets taken",
    "sweep_failed": "dumps that failed, whole or for one network namespace",
    "begun_by_sweep": "sockets found over by a sweep that the hooks had not reported",
    "ended_by_sweep": "episodes ended by a sweep that the hooks had left open",
    "recovered": "episodes whose beginning or end was lost on the way and found in the kernel's table",
    # what was told
    "held_back": "episodes not told because they ended before `hold` had passed",
    "flapped": "alerts about flapping queues that were left out: they are counted in `crossings` of a later alert",
    "folded": "alerts about single sockets that were left out: one alert for their service stands for them",
    "alerts": "alerts made",
    "heartbeats": "heartbeats made",
    "delivered": "alerts that a destination took, counted for each destination",
    "retried": "deliveries that failed and were put back for another try",
    "recovered_owed": "alerts found in the journal at the start, counted for each destination that is owed them",
    "given_up": "alerts not delivered: too old, too many, or refused for good; counted for each destination",
    "set_aside": "alerts set aside, each named in the log: damaged in the journal, or not to be handled",
    "late": "times a thread did not come round in its time: while it lasts the watchdog is told nothing",
    "journal_failed": "times the journal could not be written: alerts were in memory only",
    "journal_slow": "writes to the journal of more than a second: alerts went on from memory meanwhile",
    "dropped": "alerts dropped because too many waited to be written to the journal",
    "mptcp": "crossings of TCP sockets that are paths of MPTCP connections, not reported: their queues are elsewhere",
    "store_address_taken": "times the store's address could not be had: nothing is sent there until it is ours",
    "ignored": "exceptions raised where no caller could hear them, each with its place in the log",
    "metrics_failed": "times the metrics could not be served: a port that is taken, a fault of ours",
    "reload_failed": "times that new settings were not taken: all the old ones are kept",
    "log_dropped": "lines of the log that nobody took: a pipe that is full, a disk that is full or hangs",
    "own": "crossings of the monitor's own sockets, not reported",
    "unmarked": "times a socket of the monitor could not be marked as its own: it may be reported",
}
"""Name of each counter and what it counts; the order is the order shown."""

LOSSES = (
    "lost_submit", "lost_ring", "undecodable", "episodes_full", "unmarked", "untold", "unreturned", "sweep_failed",
    "given_up", "set_aside", "late", "ignored", "log_dropped", "journal_failed", "dropped",
)  # fmt: skip
"""The counters that say something was lost or not seen; a change of these is a warning in the log."""


class Counters:
    """Counts by name; safe from several threads. An unknown name is a KeyError, not a new counter."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter(dict.fromkeys(NAMES, 0))

    def add(self, name: str, amount: int = 1) -> None:
        with self._lock:
            if name not in NAMES:
                raise KeyError(name)
            self._counts[name] += amount

    def set(self, name: str, value: int) -> None:
        """Set a counter that is kept elsewhere (in the kernel) to its value there."""
        with self._lock:
            if name not in NAMES:
                raise KeyError(name)
            self._counts[name] = value

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)
