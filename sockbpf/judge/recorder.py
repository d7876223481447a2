# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Makes samples of what looks saw of the services, in a bounded number of series. Pure: no I/O, no clock."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockbpf.judge.services import Names
from sockbpf.record.history import STEP_S, Sample, Series, bounded, longer
from sockbpf.record.service import OTHER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.judge.services import Service
    from sockbpf.record.history import Samples

MOST = 1000
"""So many services have a name, and so many series are told at once; the rest are OTHER."""
MOST_A_DAY, MOST_OF_A_USER = 2000, 100


class Recorder:
    """The samples since they were taken away last. For one thread at a time."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._names = Names(MOST, MOST_A_DAY, MOST_OF_A_USER)
        self._samples: dict[Series, Samples] = {}

    def record(self, seen: Mapping[str, Service], at_s: float, now_s: float) -> None:
        """Add what one look saw: `at_s` is Unix time, `now_s` an instant of any clock that goes on."""
        self._names.choose(seen, now_s)
        step_s = int(at_s) // STEP_S * STEP_S
        for series, sample in self._found(seen).items():
            samples = self._samples.setdefault(series, {})
            samples[step_s] = bounded(longer(samples[step_s], sample) if step_s in samples else sample)

    def take(self, now_s: float | None = None) -> dict[Series, Samples]:
        """Return the samples, and begin anew, but for those of the step of now, Unix time, which still runs."""
        running_s = -1 if now_s is None else int(now_s) // STEP_S * STEP_S
        samples, self._samples = self._samples, {}
        for series, each in samples.items():
            if running_s in each:
                self._samples[series] = {running_s: each.pop(running_s)}
        return {series: each for series, each in samples.items() if each}

    def _found(self, seen: Mapping[str, Service]) -> dict[Series, Sample]:
        """Return a sample of each series whose queues are not all empty."""
        found: dict[Series, Sample] = {}
        for name, service in seen.items():
            for (protocol, direction), sums in service.kinds.items():
                if not sums.sockets and not sums.drops:
                    continue
                kind = protocol.name.lower(), direction.name
                series = Series(self._host, name if name in self._names else OTHER, *kind)
                if series not in self._samples and len(self._samples.keys() | found.keys()) >= MOST:
                    series = Series(self._host, OTHER, *kind)
                sample = Sample(sums.largest, int(100 * sums.fill), sums.sockets, sums.drops)
                found[series] = _beside(found[series], sample) if series in found else sample
        return found


def _beside(one: Sample, other: Sample) -> Sample:
    """Return the sample of two services that are told as one."""
    return Sample(
        max(one.size, other.size),
        max(one.fill, other.fill),
        one.sockets + other.sockets,
        one.drops + other.drops,
    )
