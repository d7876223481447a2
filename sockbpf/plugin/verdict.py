# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""From figures and their ranges to what a monitoring plug-in says: a state, a first line, performance data. Pure.

The forms are those of the guidelines of the monitoring plug-ins: https://www.monitoring-plugins.org/doc/guidelines.html
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from sockbpf.record.text import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LABEL_CHARACTERS = 19
"""A database of performance data may cut labels to so many characters."""


class State(IntEnum):
    """The exit code."""

    OK = 0
    WARNING = 1
    CRITICAL = 2
    UNKNOWN = 3


@dataclass(frozen=True, slots=True)
class Range:
    """`[@]start:end`: a figure is alarming outside of start to end, or with `@` inside; both ends belong to it."""

    text: str
    start: float
    end: float
    inside: bool

    def alarms(self, value: float) -> bool:
        return (self.start <= value <= self.end) == self.inside


_NUMBER = r"-?\d{1,15}(?:\.\d{1,6})?"
_RANGE = re.compile(rf"(@?)(?:(~|{_NUMBER})?:)?({_NUMBER})?", re.ASCII)


def range_of(text: str) -> Range:
    """Read a range such as 10, 10:, ~:10, 10:20, @10:20. Raise ValueError."""
    found = _RANGE.fullmatch(text)
    if not found or text in {"", "@", ":", "@:"}:
        quoted = "; a shell wants ~ in quotes" if "/" in text else ""  # bash makes a folder of `=~:10`
        raise ValueError(f"{text!r} is no range, expected one such as 10, 10:, ~:10, 10:20 or @10:20{quoted}")
    inside, start, end = found.groups()
    made = Range(
        text,
        -math.inf if start == "~" else float(start or 0),
        math.inf if end is None else float(end),
        bool(inside),
    )
    if made.start > made.end:
        raise ValueError(f"{text!r} is no range: its start is greater than its end")
    return made


@dataclass(frozen=True, slots=True)
class Figure:
    """One number that is judged: `words` says it in the first line, with {} for it; `unit` is s, B, c or none."""

    label: str
    value: float
    words: str
    unit: str = ""
    is_said: bool = True
    """Whether the first line has it even if it alarms nobody."""


@dataclass(frozen=True, slots=True)
class Ranges:
    """When a figure is a warning, when it is critical."""

    warning: Mapping[str, Range] = field(default_factory=dict)
    critical: Mapping[str, Range] = field(default_factory=dict)

    def state(self, figure: Figure) -> State:
        for state, ranges in ((State.CRITICAL, self.critical), (State.WARNING, self.warning)):
            if figure.label in ranges and ranges[figure.label].alarms(figure.value):
                return state
        return State.OK


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the plug-in says: `lines` are for people who ask for more."""

    state: State
    line: str
    perfdata: str
    lines: tuple[str, ...] = ()

    def text(self) -> str:
        """Return all of the output; what is not printable, and a bar, which begins performance data, is escaped."""
        first = f"SOCKBPF {self.state.name} - {safe(self.line)}"
        perfdata = f" | {self.perfdata}" if self.perfdata else ""
        return "\n".join([first + perfdata, *map(safe, self.lines)])


def verdict(
    figures: Iterable[Figure],
    ranges: Ranges,
    *,
    faults: Iterable[tuple[State, str]] = (),
    detail: str = "",
    lines: Iterable[str] = (),
) -> Verdict:
    """Judge the figures; `faults` are states of their own, each with its reason, said before all others.

    `detail` is added to the first line if something alarms.
    """
    figures = tuple(figures)
    judged = [(ranges.state(figure), figure) for figure in figures]
    faults = sorted(faults, key=lambda fault: -fault[0])
    state = max([state for state, _ in judged] + [state for state, _ in faults], default=State.OK)
    said = [reason for _, reason in faults]
    said += [
        _said(figure) for each, figure in sorted(judged, key=lambda one: -one[0]) if each or figure.is_said
    ]
    if detail and any(each for each, _ in judged):
        said.append(detail)
    return Verdict(
        state, ", ".join(said), " ".join(perfdata(figure, ranges) for figure in figures), tuple(lines)
    )


def perfdata(figure: Figure, ranges: Ranges) -> str:
    """Return label=value[unit];warning;critical;least."""
    warning, critical = (
        each[figure.label].text if figure.label in each else "" for each in (ranges.warning, ranges.critical)
    )
    return f"{figure.label}={number(figure.value)}{figure.unit};{warning};{critical};0"


def number(value: float) -> str:
    """Return a number without an exponent, with at most three decimals."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def safe(text: str) -> str:
    """Return one line of text as it may stand in a plug-in's output."""
    return printable(text).replace("|", "\\x7c")


def _said(figure: Figure) -> str:
    return figure.words.format(number(figure.value))
