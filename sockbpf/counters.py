# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The counters: one for every place where an alert or an event can be lost or recovered. All of them are shown."""

from __future__ import annotations

import threading
from collections import Counter

NAMES = {
    # events of the hooks
    "events": "queue events read from the kernel",
    "lost_submit": "events the kernel side could not put into the perf buffer",
    "lost_ring": "the same losses as lost_submit, by the count that the kernel gives to the perf buffer's reader",
    "undecodable": "events whose bytes could not be read as an event",
    "episodes_full": "crossings not followed in the kernel because its table was full",
    "untold": "short crossings that were not reported because their user had too many of them in a second",
    "unreturned": "UDP sending calls whose return probe the kernel skipped: the growth of their queue was not seen",
    "skipped": "runs of hooks that the kernel skipped, as the same one ran there: a look finds what they missed",
    "unsure_dropped": "queues over the least threshold of any rule, but not over their own once it was known whose",
    # sweeps, and what they recovered
    "sweeps": "sweeps, which are looks at all sockets without hooks",
    "sweep_failed": "sweeps that failed, whole or for one network namespace",
    "watch_failed": "looks at something other than the queues that failed; the next one may work",
    "overflows_unnamed": "overflows of accept queues, counted by the kernel, of listeners that were not found",
    "rates_unread": "network namespaces whose counters were not read because there were too many",
    "look_refused": "times BPF iterators could not be had: sockets are looked at by sock_diag, which costs more",
    "stalls_full": "times a queue was not watched for a stall because too many were: each look counts each again",
    "begun_by_sweep": "sockets found over by a sweep that the hooks had not reported",
    "ended_by_sweep": "episodes ended by a sweep that the hooks had left open",
    "recovered": "episodes whose beginning or end was lost as an event and found in the kernel's table",
    "unexplained": "alerts without a cause because in that second there was no more time to look for one",
    # alerts and their delivery
    "held_back": "episodes without an alert because they ended before `hold` had passed",
    "flapped": "alerts about flapping queues that were left out: they are counted in `crossings` of a later alert",
    "folded": "alerts about single sockets that were left out: one alert for several stands for them",
    "paired": "alerts that who is told incidents was not told: they are about the other end of what was told",
    "silenced": "alerts not made because `sockbpf silence` asked for that",
    "alerts": "alerts made",
    "heartbeats": "heartbeats made",
    "delivered": "alerts that a destination took, counted for each destination",
    "retried": "deliveries that failed and were put back for another try",
    "recovered_owed": "alerts found in the journal at the start, counted for each destination that is owed them",
    "given_up": "alerts not delivered: too old, too many, or refused for good; counted for each destination",
    "summarised": "alerts that were not sent to a destination behind its rate: another says how many episodes ended",
    "set_aside": "alerts set aside, each named in the log: damaged in the journal, or their handling failed",
    "late": "times a thread gave no sign of life in time: until it does the watchdog is not notified",
    "journal_failed": "times the journal could not be written: alerts were in memory only",
    "journal_slow": "writes to the journal of more than a second: alerts went on from memory meanwhile",
    "dropped": "alerts dropped because too many waited to be written to the journal",
    "mptcp": "crossings of TCP sockets that are paths of MPTCP connections, not reported: their queues are elsewhere",
    "store_address_taken": "tries to listen at the store's address that failed: alerts for it wait until one works",
    "ignored": "exceptions raised where no caller could catch them, each with its place in the log",
    "metrics_failed": "times the metrics could not be served, as the port was taken, or not be sent by OTLP",
    "status_failed": "times `sockbpf status` could not be answered: the socket was taken, or making it failed",
    "history_lost": "samples of services' queues that a store did not get: it refused them, or was away for long",
    "service_looks_failed": "looks at queues for the metrics that failed, or were late while no other was to show",
    "drops_uncounted": "times a look for the metrics did not count a socket's drops: there were too many sockets",
    "reload_failed": "times new settings were refused: all the old ones stay in use",
    "log_dropped": "lines of the log that could not be written: a pipe that is full, a disk that is full or hangs",
    "own": "crossings of the monitor's own sockets, not reported",
    "unmarked": "times a socket of the monitor could not be marked as its own: it may be reported",
}
"""Name of each counter and what it counts; the order is the order shown."""

LOSSES = (
    "lost_submit", "lost_ring", "undecodable", "episodes_full", "unmarked", "untold", "unreturned", "sweep_failed",
    "watch_failed", "stalls_full", "overflows_unnamed", "rates_unread", "given_up", "set_aside", "late", "ignored",
    "log_dropped", "journal_failed", "dropped",
)  # fmt: skip
"""The counters of losses: of alerts, of events, of log lines. A change of one is a warning in the log."""


MOST_DESTINATIONS = 100
"""So many destinations are counted apart; of more, those that come last are OTHER."""

OTHER = "other"


class Counters:
    """Counts by name; safe from several threads. An unknown name is a KeyError, not a new counter."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter(dict.fromkeys(NAMES, 0))
        self._by_destination: dict[str, Counter[str]] = {}

    def add(self, name: str, amount: int = 1, destination: str = "") -> None:
        """Count; with the name of a destination for that one too."""
        with self._lock:
            if name not in NAMES:
                raise KeyError(name)
            self._counts[name] += amount
            if destination:
                if destination not in self._by_destination and len(self._by_destination) >= MOST_DESTINATIONS:
                    destination = OTHER
                self._by_destination.setdefault(destination, Counter())[name] += amount

    def set(self, name: str, value: int) -> None:
        """Set a counter that another place counts, such as the kernel side, to its value there."""
        with self._lock:
            if name not in NAMES:
                raise KeyError(name)
            self._counts[name] = value

    def snapshot(self) -> dict[str, int]:
        with self._lock:
            return dict(self._counts)

    def by_destination(self) -> dict[str, Counter[str]]:
        """Return what was counted for each destination; a name that was not is 0."""
        with self._lock:
            return {destination: Counter(counts) for destination, counts in self._by_destination.items()}
