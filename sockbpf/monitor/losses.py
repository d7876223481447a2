# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The counters that are kept elsewhere, and the word that is said when something was lost."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sockbpf.counters import LOSSES
from sockbpf.process import logs

if TYPE_CHECKING:
    from sockbpf.counters import Counters
    from sockbpf.kernel.attach.tables import Tables
    from sockbpf.monitor.own import Own

log = logging.getLogger(__name__)


class Losses:
    """Reads what the kernel side and the log count, and says what is new."""

    def __init__(self, counters: Counters, tables: Tables | None, own: Own) -> None:
        """Take `tables` where there are hooks."""
        self._counters = counters
        self._tables = tables
        self._own = own
        self.wanted = False
        """Whether all counters are to be logged; a signal handler may set it."""
        self._said: dict[str, int] = {}

    def count(self) -> None:
        """Bring the counters up to date."""
        self._counters.set("log_dropped", logs.dropped())
        if self._tables is None:
            return
        tally = self._tables.tally()
        self._counters.set("lost_submit", tally.lost)
        self._counters.set("episodes_full", tally.full)
        self._counters.set("own", tally.own + self._own.late)
        self._counters.set("unmarked", tally.unmarked)
        self._counters.set("mptcp", tally.mptcp)
        self._counters.set("unreturned", tally.unreturned)
        self._counters.set("untold", tally.untold)

    def say(self) -> bool:
        """Log what was lost, if that has changed; return whether a sweep would see what was not judged."""
        self.count()
        counts = self._counters.snapshot()
        losses = {name: counts[name] for name in LOSSES if counts[name]}
        if losses == self._said:
            return False
        is_unjudged = losses.get("unreturned") != self._said.get("unreturned")
        self._said = losses
        log.warning("lost: %s", " ".join(f"{name}={count}" for name, count in losses.items()))
        return is_unjudged

    def show_wanted(self) -> None:
        """Log all counters, if that is wanted."""
        if self.wanted:
            self.wanted = False
            self.count()
            log.info("counters: %s", self.all())

    def all(self) -> str:
        """Return all counters in one line."""
        return " ".join(f"{name}={count}" for name, count in self._counters.snapshot().items())
