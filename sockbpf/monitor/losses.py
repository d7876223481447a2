# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Reads the counters of the kernel side and of the log, and logs losses."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sockbpf.counters import LOSSES
from sockbpf.process import logs
from sockbpf.process.clock import monotonic_s

if TYPE_CHECKING:
    from sockbpf.counters import Counters
    from sockbpf.kernel.attach.probes import Probes
    from sockbpf.monitor.own import Own

log = logging.getLogger(__name__)


UNJUDGED = ("unreturned", "episodes_full", "lost_submit", "lost_ring", "undecodable")
"""The losses after which a queue may be over and only a sweep can find it."""


class Losses:
    """Brings those counters up to date, and logs each change of a counter of losses."""

    def __init__(self, counters: Counters, probes: Probes | None, own: Own) -> None:
        """`probes` is None where there are no hooks."""
        self._counters = counters
        self._probes = probes
        self._own = own
        self.wanted = False
        """Whether all counters are to be logged; a signal handler may set it."""
        self._logged: dict[str, int] = {}
        self._lost_s: float | None = None
        """Monotonic time at which the last loss was found; None if there was none."""

    def count(self) -> None:
        """Bring the counters up to date."""
        self._counters.set("log_dropped", logs.dropped())
        if self._probes is None:
            return
        self._counters.set("skipped", self._probes.skipped())
        tally = self._probes.tables.tally()
        self._counters.set("lost_submit", tally.lost)
        self._counters.set("episodes_full", tally.full)
        self._counters.set("own", tally.own + self._own.late)
        self._counters.set("unmarked", tally.unmarked)
        self._counters.set("mptcp", tally.mptcp)
        self._counters.set("unreturned", tally.unreturned)
        self._counters.set("untold", tally.untold)

    def log_new(self) -> bool:
        """Log the losses, if they have changed; return whether a sweep can find what the hooks did not compare."""
        self.count()
        counts = self._counters.snapshot()
        losses = {name: counts[name] for name in LOSSES if counts[name]}
        if losses == self._logged:
            return False
        is_unjudged = any(losses.get(name) != self._logged.get(name) for name in UNJUDGED)
        self._logged = losses
        self._lost_s = monotonic_s()
        log.warning("lost: %s", " ".join(f"{name}={count}" for name, count in losses.items()))
        return is_unjudged

    def lost_ago_s(self) -> float | None:
        """Return how many seconds ago the last loss was found; None if this run has lost nothing."""
        return None if self._lost_s is None else monotonic_s() - self._lost_s

    def show_wanted(self) -> None:
        """Log all counters, if a signal has asked for it."""
        if self.wanted:
            self.wanted = False
            self.count()
            log.info("counters: %s", self.all())

    def all(self) -> str:
        """Return all counters in one line."""
        return " ".join(f"{name}={count}" for name, count in self._counters.snapshot().items())
