# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is asked of the history, and its answer. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sockbpf.record.history import STEP_S, Sample, Series, longer

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sockbpf.record.history import Samples

HOUR_S, SIX_HOURS_S = 3600, 21_600
STEPS = (STEP_S, 60, 300, HOUR_S, 21_600, 86_400)
"""Seconds that one value of an answer can be of."""
MOST_STEPS = 400
"""Values of a list; of a window that would have more in the longest steps, the end is told."""


@dataclass(frozen=True)
class Window:
    """`count` steps of `step_s` seconds from `begin_s` on, Unix time."""

    begin_s: int
    step_s: int
    count: int

    @property
    def end_s(self) -> int:
        return self.begin_s + self.count * self.step_s

    @property
    def hours(self) -> tuple[int, int]:
        """Begin and end of the whole hours that it touches, of one with steps of hours 6 at a time; Unix time."""
        grain_s = HOUR_S if self.step_s < HOUR_S else SIX_HOURS_S
        return self.begin_s // grain_s * grain_s, -(-self.end_s // grain_s) * grain_s


def window_of(from_s: float, to_s: float) -> Window:
    """Return the window that begins and ends with whole steps, as short as its number allows."""
    for step_s in STEPS:
        begin, end = math.floor(from_s / step_s), math.ceil(to_s / step_s)
        if end - begin <= MOST_STEPS:
            break
    begin = max(begin, end - MOST_STEPS)
    return Window(begin * step_s, step_s, max(end - begin, 0))


@dataclass(frozen=True)
class Asked:
    """Which series are asked about: those that have these names, where one is given."""

    window: Window
    top: int
    """So many series are told in steps, the worst."""
    limit: int
    """So many are told as a whole."""
    host: str = ""
    service: str = ""
    protocol: str = ""
    type: str = ""

    @property
    def names(self) -> dict[str, str]:
        """The names that are given."""
        names = {name: getattr(self, name) for name in Series._fields}
        return {name: value for name, value in names.items() if value}


def worst_first(found: Iterable[tuple[Series, Sample]]) -> list[tuple[Series, Sample]]:
    """Return the series in the order of an answer: by how full, then by how much."""
    return sorted(found, key=lambda each: (-each[1].fill, -each[1].size, each[0]))


def in_steps(samples: Samples, window: Window) -> list[Sample | None]:
    """Return what the samples are together in each step of the window, None where there is none."""
    found: list[Sample | None] = [None] * window.count
    begin_s, end_s, step_s = window.begin_s, window.end_s, window.step_s
    for at_s, sample in samples.items():
        if begin_s <= at_s < end_s:
            place = (at_s - begin_s) // step_s
            known = found[place]
            found[place] = longer(known, sample) if known else sample
    return found


def answer_of(
    asked: Asked,
    services: list[tuple[Series, Sample]],
    in_detail: Iterable[tuple[Series, list[Sample | None]]],
) -> dict[str, Any]:
    """Return the answer as JSON has it."""
    window = asked.window
    begin_s, end_s = window.hours
    return {
        "from": window.begin_s,
        "to": window.end_s,
        "width": window.step_s,
        "times": [window.begin_s + place * window.step_s for place in range(window.count)],
        "series": [
            series._asdict()
            | {
                name: [None if each is None else each[place] for each in steps]
                for place, name in enumerate(Sample._fields)
            }
            for series, steps in in_detail
        ],
        "services_from": begin_s,
        "services_to": end_s,
        "services": [series._asdict() | sums._asdict() for series, sums in services[: asked.limit]],
        "more": max(0, len(services) - asked.limit),
    }
