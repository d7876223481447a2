# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The watch of counters: a thread that reads them each second, while the settings name any."""

from __future__ import annotations

import difflib
import logging
from typing import TYPE_CHECKING

from sockbpf.kernel.look.counters import read_all
from sockbpf.kernel.look.counts import CountsLook
from sockbpf.monitor.watch import Watch
from sockbpf.process.life import NoThreadError
from sockbpf.record.facts import Severity

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.counters import Counters
    from sockbpf.judge.rates import Rates
    from sockbpf.record.alert import Notice
    from sockbpf.record.rate import Counts, Rate
    from sockbpf.settings.config import Config

log = logging.getLogger(__name__)

INTERVAL_S = 1.0

SHARE = 50
"""A look may take one part in this many of the time: with very many network namespaces looks are further apart."""

NEAR = 3
"""So many similar names are offered for one that this kernel does not have."""


def limits_of(config: Config) -> dict[str, dict[Severity, Rate]]:
    """Return how fast each counter may rise, by severity."""
    return {
        name: {
            severity: rate
            for severity, rate in ((Severity.WARNING, its.warning), (Severity.CRITICAL, its.critical))
            if rate is not None
        }
        for name, its in config.rates.items()
    }


def unknown_counters(config: Config) -> list[str]:
    """Return a sentence for each counter of the settings that this kernel does not have, with similar names."""
    if not config.rates:
        return []
    try:
        known = read_all()
    except OSError as fault:
        return [f"rates: the counters of this kernel cannot be read: {fault}"]
    sentences = []
    for name in config.rates:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=NEAR)
            hint = f"; similar ones: {', '.join(near)}" if near else ""
            sentences.append(f"rates > {name}: this kernel has no such counter{hint}")
    return sentences


class RateWatch:
    """Reads the counters that the settings name; without any it has no thread."""

    def __init__(self, judge: Rates, *, on_seen: Callable[[], None], counters: Counters) -> None:
        self._judge = judge
        self._on_seen = on_seen
        self._counters = counters
        self._names: frozenset[str] = frozenset()
        self._look: CountsLook | None = None
        self._watch: Watch[tuple[Counts, ...]] | None = None

    def use(self, config: Config) -> None:
        """Take the settings; log the counters that this kernel does not have."""
        self._judge.use(limits_of(config), config.clear_ratio, int(config.repeat * 1e9))
        for sentence in unknown_counters(config):
            log.warning("%s", sentence)
        names = frozenset(config.rates)
        if names == self._names:
            return
        self.stop()
        if names:
            try:
                self._look = CountsLook(names, self._counters)
                self._watch = Watch(
                    "rates", self._look, self._judge, INTERVAL_S,
                    on_seen=self._on_seen, counters=self._counters,
                )  # fmt: skip
            except NoThreadError as fault:
                self._counters.add("watch_failed")
                log.warning("no rates are watched: %s", fault)
                return
        self._names = names

    @property
    def has_looked(self) -> bool:
        """Tell whether the counters have been read, if they are to be."""
        return self._watch is None or self._watch.has_looked

    def notices(self) -> list[Notice]:
        """Give what was read meanwhile to the judge, and return the notices."""
        if self._watch is None or self._look is None:
            return []
        self._watch.interval_s = max(INTERVAL_S, self._look.took_s * SHARE)
        return self._watch.notices()

    def stop(self) -> None:
        """End the thread, if there is one."""
        if self._watch:
            self._watch.stop()
            self._watch = None
        self._names = frozenset()
