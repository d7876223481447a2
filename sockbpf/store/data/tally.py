# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What one alert, or one episode, adds to the timeline. Pure.

An episode counts as over from its start to its latest alert: to its end, or while it has none, to when it was last
heard of. What a later run of the monitor ends was last heard of before.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import lru_cache
from hashlib import blake2s
from typing import TYPE_CHECKING, Any

from sockbpf.record.alert import EVENTS
from sockbpf.record.event import Direction
from sockbpf.store.data.timeline_tables import COARSE, STEPS, SUMS

if TYPE_CHECKING:
    from collections.abc import Mapping

LONGEST_US = 31 * 86_400 * 1_000_000
"""Of an episode that lasts longer, so many microseconds before its end count."""
LONGEST = STEPS[-1]
SECOND_US = 1_000_000
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


def scope_of(host: str, *, single: bool) -> int:
    """Return the scope of all hosts (an empty text) or one, for all services together or single ones."""
    return number(host, str(single))


@lru_cache(maxsize=32_768)
def number(*texts: str) -> int:
    """Return a number of 64 bits that stands for these texts."""
    return int.from_bytes(blake2s(json.dumps(texts).encode(), digest_size=8).digest(), "big", signed=True)


class Tally:
    """Sums of what is added and subtracted.

    They are made for each service, on all hosts together (an empty text) and on its own, in the shortest step of
    which there are such rows; those of longer steps, and of all services, are made of these at the end.
    """

    def __init__(self) -> None:
        self._shortest: dict[tuple[Any, ...], list[Any]] = {}
        """By host, service, type and bucket."""
        self._carried: Counter[tuple[str, str, str, int]] = Counter()

    def alert(
        self, row: Mapping[str, Any], at_s: float, worst: tuple[int, float] = (0, 0.0), sign: int = 1
    ) -> None:
        """Add an alert, by the columns of its entry, or subtract it; `worst` is its fill and its ratio."""
        if row["event"] not in EVENTS or not _is_counted(row):
            return
        place, service = PLACE[row["event"]], service_of(row)
        for host, step in (("", STEPS[0]), (row["host"], COARSE[0])):
            sums = self._sums(host, service, row["type"], int(at_s) // step * step)
            sums[place] += sign
            if sign > 0:
                sums[FILL] = max(sums[FILL], worst[0])
                sums[RATIO] = max(sums[RATIO], worst[1])

    def episode(self, row: Mapping[str, Any], sign: int = 1) -> None:
        """Add an episode, by its row, or subtract it."""
        if not _is_counted(row):
            return
        start_us, stop_us = span_us(row)
        service, type_ = service_of(row), row["type"]
        first = (start_us // SECOND_US // LONGEST + 1) * LONGEST
        for host, step in (("", STEPS[0]), (row["host"], COARSE[0])):
            for at_us, count, left in ((start_us, OPENED, OPENED_US), (stop_us, CLOSED, CLOSED_US)):
                bucket = at_us // SECOND_US // step * step
                sums = self._sums(host, service, type_, bucket)
                sums[count] += sign
                sums[left] += sign * ((bucket + step) * SECOND_US - at_us)
            for bucket in range(first, stop_us // SECOND_US + 1, LONGEST):
                self._carried[host, service, type_, bucket] += sign

    def _sums(self, *key: Any) -> list[Any]:
        sums = self._shortest.get(key)
        if sums is None:
            sums = self._shortest[key] = _nothing()
        return sums

    def rows(self) -> tuple[dict[Key, list[Any]], dict[int, Series]]:
        """Return the sums by row of the timeline, and what the series of these rows are about, by their id."""
        rows: dict[Key, list[Any]] = {}
        about: dict[int, Series] = {}
        for (host, service, type_, bucket), sums in self._shortest.items():
            end_s = bucket + (COARSE[0] if host else STEPS[0])
            for series in series_of(host, service, type_):
                about[series[0]] = series
                for step in COARSE if host or not series[2] else STEPS:
                    wide = bucket // step * step
                    key = (series[1], step, wide, series[0])
                    if key not in rows:
                        rows[key] = _nothing()
                    _add(rows[key], sums, (wide + step - end_s) * SECOND_US)
        for (host, service, type_, bucket), count in self._carried.items():
            for id_, scope, *_ in series_of(host, service, type_):
                rows.setdefault((scope, LONGEST, bucket, id_), _nothing())[CARRIED] += count
        return rows, about


def series_of(host: str, service: str, type_: str) -> tuple[Series, Series]:
    """Return what is counted for a service, and for all of them, on a host or on all; of a type in any case."""
    return (
        (number(host, service, type_), scope_of(host, single=True), service, type_),
        (number(host, "", type_), scope_of(host, single=False), "", type_),
    )


def _is_counted(row: Mapping[str, Any]) -> bool:
    return bool(
        row["host"] and row["type"]
    )  # no alert is without them; what another program has written may be


def _nothing() -> list[Any]:
    return [0] * len(SUMS) + [0, 0.0]


def _add(row: list[Any], sums: list[Any], longer_us: int) -> None:
    """Add the sums of a step to those of one that contains it, and ends so much later."""
    for place in range(FILL):
        row[place] += sums[place]
    row[OPENED_US] += sums[OPENED] * longer_us
    row[CLOSED_US] += sums[CLOSED] * longer_us
    row[FILL] = max(row[FILL], sums[FILL])
    row[RATIO] = max(row[RATIO], sums[RATIO])


def span_us(row: Mapping[str, Any]) -> tuple[int, int]:
    """Return from when to when an episode counts as over, microseconds of Unix time."""
    stop_us = round(row["last"] * 1e6)
    start_us = min(round(row["start"] * 1e6), stop_us)
    return max(start_us, stop_us - LONGEST_US), stop_us


def worst_of(fill: object, size: int, threshold: int) -> tuple[int, float]:
    """Return how full a buffer was, percent, and size / threshold; 0 where it is not known."""
    known = fill if isinstance(fill, int) else 0
    return known, size / threshold if threshold else 0.0
