# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What one alert, or one episode, adds to the timeline. Pure.

An episode counts as over from its start to its latest alert: to its end, or while it has none, to when it was last
heard of. What a later run of the monitor ends was last heard of before.
"""

from __future__ import annotations

import json
from functools import lru_cache
from hashlib import blake2s
from typing import TYPE_CHECKING, Any

from sockbpf.record.alert import EVENTS
from sockbpf.record.event import Direction
from sockbpf.store.data.timeline_tables import COARSE, STEPS, SUMS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

LONGEST_US = 31 * 86_400 * 1_000_000
"""Of an episode that lasts longer, so many microseconds before its end count."""
FILL, RATIO = len(SUMS), len(SUMS) + 1
PLACE = {name: place for place, name in enumerate(SUMS)}
OPENED, CLOSED, OPENED_US, CLOSED_US, CARRIED = (PLACE[name] for name in SUMS[3:])
Key = tuple[int, int, int, int]
"""Scope, step, bucket, series."""
Series = tuple[int, int, str, str]
"""Id, scope, service, type."""


def service_of(row: Mapping[str, Any]) -> str:
    """Return the name of the service that a socket belongs to: its unit, container or process, else its port."""
    if row["type"] == Direction.RATE.name:
        return str(row["name"] or "?")
    owner = row["unit"] or row["container"] or row["comm"]
    return str(owner or f"{row['protocol']} {row['local_port']}")


@lru_cache(maxsize=8192)
def series_of(host: str, service: str, type_: str) -> tuple[Series, ...]:
    """Return what an alert is counted for: all hosts or its own, its service or all; its type in any case.

    The first is its service on all hosts.
    """
    return tuple(
        (number(scoped, named, type_), scope_of(scoped, single=bool(named)), named, type_)
        for scoped in ("", host)
        for named in (service, "")
    )


def scope_of(host: str, *, single: bool) -> int:
    """Return the scope of all hosts (an empty text) or one, for all services together or single ones."""
    return number(host, str(single))


def number(*texts: str) -> int:
    """Return a number of 64 bits that stands for these texts."""
    return int.from_bytes(blake2s(json.dumps(texts).encode(), digest_size=8).digest(), "big", signed=True)


class Tally:
    """Sums of what is added and subtracted, by row of the timeline."""

    def __init__(self) -> None:
        self.rows: dict[Key, list[Any]] = {}
        self.series: dict[int, Series] = {}

    def alert(
        self, row: Mapping[str, Any], at_s: float, worst: tuple[int, float] = (0, 0.0), sign: int = 1
    ) -> None:
        """Add an alert, by the columns of its entry, or subtract it; `worst` is its fill and its ratio."""
        if row["event"] not in EVENTS:
            return
        place = PLACE[row["event"]]
        for step, id_, scope in self._counted_for(row):
            sums = self._row(scope, step, int(at_s) // step * step, id_)
            sums[place] += sign
            if sign > 0:
                sums[FILL] = max(sums[FILL], worst[0])
                sums[RATIO] = max(sums[RATIO], worst[1])

    def episode(self, row: Mapping[str, Any], sign: int = 1) -> None:
        """Add an episode, by its row, or subtract it."""
        start_us, stop_us = span_us(row)
        longest = STEPS[-1]
        first = (start_us // 1_000_000 // longest + 1) * longest
        for step, id_, scope in self._counted_for(row):
            for at_us, count, left in ((start_us, OPENED, OPENED_US), (stop_us, CLOSED, CLOSED_US)):
                bucket = at_us // 1_000_000 // step * step
                sums = self._row(scope, step, bucket, id_)
                sums[count] += sign
                sums[left] += sign * ((bucket + step) * 1_000_000 - at_us)
            for bucket in range(first, stop_us // 1_000_000 + 1, longest) if step == longest else ():
                self._row(scope, longest, bucket, id_)[CARRIED] += sign

    def _counted_for(self, row: Mapping[str, Any]) -> Iterator[tuple[int, int, int]]:
        """Yield step, series and scope of the rows that an alert or an episode is part of."""
        if not row["host"] or not row["type"]:
            return  # no alert is without them; what another program has written may be
        for place, each in enumerate(series_of(row["host"], service_of(row), row["type"])):
            self.series[each[0]] = each
            for step in STEPS if place == 0 else COARSE:
                yield step, each[0], each[1]

    def _row(self, *key: int) -> list[Any]:
        return self.rows.setdefault(key, [0] * len(SUMS) + [0, 0.0])  # type: ignore[arg-type]


def span_us(row: Mapping[str, Any]) -> tuple[int, int]:
    """Return from when to when an episode counts as over, microseconds of Unix time."""
    stop_us = round(row["last"] * 1e6)
    start_us = min(round(row["start"] * 1e6), stop_us)
    return max(start_us, stop_us - LONGEST_US), stop_us


def worst_of(fill: object, size: int, threshold: int) -> tuple[int, float]:
    """Return how full a buffer was, percent, and size / threshold; 0 where it is not known."""
    known = fill if isinstance(fill, int) else 0
    return known, size / threshold if threshold else 0.0
