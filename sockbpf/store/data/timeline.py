# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The answer of a timeline: a window of time in buckets, and sums in each of them. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

from sockbpf.record.alert import EVENTS
from sockbpf.store.data.timeline_tables import STEPS

SECOND_US = 1_000_000
COARSER = 1.75
"""Buckets may be so much wider than asked if that spares the sums of many shorter steps."""


@dataclass(frozen=True)
class Window:
    """`count` buckets of `width_s` seconds from `begin_s` on, Unix time; each is made of steps of `step_s`."""

    begin_s: int
    step_s: int
    width_s: int
    count: int

    @property
    def end_s(self) -> int:
        return self.begin_s + self.count * self.width_s

    def bucket(self, at_s: float) -> int:
        """Return the number of the bucket in which this time is; it may be outside the window."""
        return math.floor((at_s - self.begin_s) / self.width_s)


def window_of(from_s: float, to_s: float, buckets: int) -> Window:
    """Return the window of at most this many buckets, and one more, which begins and ends with whole steps.

    It has no bucket if it would end before it begins.
    """
    wanted_s = max(to_s - from_s, 1.0) / buckets
    step_s = max((step for step in STEPS if step <= COARSER * wanted_s), default=STEPS[0])
    width_s = math.ceil(wanted_s / step_s) * step_s
    begin_s = math.floor(from_s / step_s) * step_s
    return Window(begin_s, step_s, width_s, math.ceil((to_s - begin_s) / width_s) if from_s < to_s else 0)


@dataclass
class Sums:
    """What is told of some alerts and episodes, in each bucket of a window."""

    window: Window
    counts: dict[str, dict[str, list[int]]] = field(default_factory=dict)
    """By type and event."""
    fill: list[int] = field(init=False)
    ratio: list[float] = field(init=False)
    open_us: list[int] = field(init=False)
    _changes: list[int] = field(init=False)

    def __post_init__(self) -> None:
        count = self.window.count
        self.fill, self.ratio, self.open_us, self._changes = (
            [0] * count,
            [0.0] * count,
            [0] * count,
            [0] * count,
        )

    def told(self, bucket: int, type_: str, event: str, number: int = 1) -> None:
        """Add alerts to a bucket."""
        if number:
            of_type = self.counts.setdefault(type_, {name: [0] * self.window.count for name in EVENTS})
            of_type[event][bucket] += number

    def worst(self, bucket: int, fill: int, ratio: float) -> None:
        self.fill[bucket] = max(self.fill[bucket], fill)
        self.ratio[bucket] = max(self.ratio[bucket], ratio)

    def changed(self, bucket: int, difference: int, until_end_us: int) -> None:
        """Note by how many more episodes are over from now on; `until_end_us` is their time to the bucket's end."""
        self._changes[bucket] += difference
        self.open_us[bucket] += until_end_us

    def carry(self, at_begin: int) -> None:
        """Add the time of those that are over when a bucket begins; `at_begin` when the window does."""
        for bucket, difference in enumerate(self._changes):
            self.open_us[bucket] += at_begin * self.window.width_s * SECOND_US
            at_begin += difference

    def lasted(self, start_us: int, stop_us: int) -> None:
        """Add the time of one episode."""
        begin_us, width_us = self.window.begin_s * SECOND_US, self.window.width_s * SECOND_US
        first = max(0, (start_us - begin_us) // width_us)
        last = min(self.window.count - 1, (stop_us - begin_us) // width_us)
        for bucket in range(first, last + 1):
            left_us = begin_us + bucket * width_us
            self.open_us[bucket] += min(stop_us, left_us + width_us) - max(start_us, left_us)

    def number(self, event: str) -> int:
        """Return how many alerts of this event there are in all."""
        return sum(sum(of_type[event]) for of_type in self.counts.values())


@dataclass
class Timeline:
    """The whole answer."""

    total: Sums
    services: dict[str, Sums]
    """Those that were over for longest, the longest first."""
    known_from_s: float | None = None
    """Until this time not all is known; None if all is."""

    def shown(self) -> dict[str, Any]:
        """Return it as JSON has it: a list for each value, with null for buckets of which not all is known."""
        window = self.total.window
        times = [window.begin_s + bucket * window.width_s for bucket in range(window.count)]
        known = [self.known_from_s is None or at_s > self.known_from_s for at_s in times]

        def said(values: list[Any]) -> list[Any]:
            return [value if is_known else None for value, is_known in zip(values, known, strict=True)]

        def sums(of: Sums) -> dict[str, Any]:
            return {
                "counts": {
                    type_: {event: said(numbers) for event, numbers in events.items()}
                    for type_, events in sorted(of.counts.items())
                },
                "worst_fill": said([fill or None for fill in of.fill]),
                "worst_ratio": said([round(ratio, 3) or None for ratio in of.ratio]),
                "open_s": said([open_us / SECOND_US for open_us in of.open_us]),
            }

        others = [
            whole - sum(each.open_us[bucket] for each in self.services.values())
            for bucket, whole in enumerate(self.total.open_us)
        ]
        return {
            "from": window.begin_s,
            "to": window.end_s,
            "width": window.width_s,
            "times": times,
            "partial": not all(known),
            "known_from": None if all(known) else self.known_from_s,
            **sums(self.total),
            "services": [{"service": name, **sums(of)} for name, of in self.services.items()],
            "others": {"open_s": said([open_us / SECOND_US for open_us in others])},
        }
