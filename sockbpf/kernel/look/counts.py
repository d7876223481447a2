# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A look at the counters of all network namespaces."""

from __future__ import annotations

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from sockbpf.kernel.look.counters import CounterReader
from sockbpf.kernel.look.droppers import DropLooks
from sockbpf.kernel.look.netns import inside, namespaces
from sockbpf.process.clock import monotonic_ns
from sockbpf.record.rate import Counts

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from sockbpf.counters import Counters
    from sockbpf.record.rate import Droppers

DROPS = frozenset(
    f"{group}{name}"
    for group in ("Udp", "Udp6")
    for name in ("InErrors", "RcvbufErrors", "InCsumErrors", "MemErrors")
)
"""The counters that rise with a socket's own count of dropped datagrams."""

SHARE = 100
"""Finding the network namespaces, a look through all processes, may take one part in this many of the time."""

MOST = 1024
"""So many network namespaces are read; of more, those with the highest numbers are left out."""


class CountsLook:
    """Reads the counters of these names in every network namespace, again and again. For one thread."""

    def __init__(self, names: Collection[str], counters: Counters) -> None:
        self._watches_drops = frozenset(names) & DROPS
        self._reader = CounterReader(frozenset(names) | (DROPS if self._watches_drops else frozenset()))
        self._drops = DropLooks()
        self._dropped: dict[int, int] = {}
        """Namespace -> the sum of the counters of DROPS at the last look."""
        self._counters = counters
        self._places: dict[int, str] = {}
        self._next_s = 0.0
        self.took_s = 0.0
        """The CPU time of the last look."""

    def __call__(self) -> tuple[Counts, ...]:
        """Return the counters of each network namespace. Raise OSError if /proc cannot be read."""
        begun_s = time.thread_time()
        self._find_namespaces()
        found: list[Counts] = []
        for netns in sorted(self._places)[:MOST]:
            counts = self._read(netns)
            if counts:
                found.append(counts)
            else:
                self._next_s = 0.0
        self.took_s = time.thread_time() - begun_s
        return tuple(found)

    def _find_namespaces(self) -> None:
        begun_s = time.monotonic()
        if begun_s < self._next_s:
            return
        self._places = namespaces()
        if len(self._places) > MOST:
            self._counters.add("rates_unread", len(self._places) - MOST)
        known = frozenset(self._places)
        self._drops.forget_others(known)
        self._dropped = {netns: sum_ for netns, sum_ in self._dropped.items() if netns in known}
        ended_s = time.monotonic()
        self._next_s = ended_s + (ended_s - begun_s) * SHARE

    def _read(self, netns: int) -> Counts | None:
        """Return the counters of a network namespace; None if its path leads to it no more."""
        with suppress(OSError), inside(self._places[netns]) as entered:
            if entered == netns:
                values = self._reader.read()
                return Counts(netns, monotonic_ns(), values, self._droppers(netns, values))
        return None

    def _droppers(self, netns: int, values: Mapping[str, int]) -> Droppers:
        dropped = sum(values.get(name, 0) for name in DROPS)
        # While no counter rises, no socket's count does: the counts of the last look still hold.
        if not self._watches_drops or dropped == self._dropped.get(netns):
            return ()
        droppers = self._drops.look(netns)
        if droppers is None:
            return ()
        self._dropped[netns] = dropped
        return droppers
