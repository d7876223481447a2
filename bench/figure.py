# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a measurement gives: a figure, its spread, what it is held against; and the table of them."""

from __future__ import annotations

import signal
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest

LIMIT_S = 300
"""What takes longer hangs: one figure, or a few that are measured together."""
WHY_CHARACTERS = 300
"""So much is shown of why a measurement failed."""


@dataclass(frozen=True, slots=True)
class Figure:
    """A figure with its spread over `runs`; `rival` is what it is compared with, in the same run."""

    name: str
    unit: str
    values: tuple[float, ...]
    """One for each run."""

    goal: str = ""
    met: bool | None = None
    """None where there is no goal, or the figure is only shown."""

    rival: str = ""
    rival_values: tuple[float, ...] = ()
    note: str = ""

    @property
    def median(self) -> float:
        return median(self.values)

    @property
    def ratio(self) -> float | None:
        """The figure over its rival's, None without a rival or if its figure is 0."""
        rival = median(self.rival_values) if self.rival_values else 0
        return self.median / rival if rival else None


def attempted(what: str, measure: Callable[[], list[Figure]], limit_s: float = LIMIT_S) -> list[Figure]:
    """Return what is measured, or, if that fails or hangs, a figure without a value that says why."""

    def too_long(*_: object) -> None:
        raise TimeoutError(f"not done within {limit_s:g} s")

    begun_s, usual = time.monotonic(), signal.signal(signal.SIGALRM, too_long)
    rest_s, _ = signal.setitimer(signal.ITIMER_REAL, limit_s)
    try:
        return measure()
    except (Exception, pytest.fail.Exception) as error:  # noqa: BLE001  whatever it is, the others are measured
        traceback.print_exc()
        why = " ".join(f"{type(error).__name__}: {error}".replace("|", "/").split())
        return [Figure(what, "", (), note=f"failed: {why[:WHY_CHARACTERS]}")]
    finally:
        signal.signal(signal.SIGALRM, usual)
        signal.setitimer(signal.ITIMER_REAL, rest_s)
        print(f"{time.monotonic() - begun_s:6.1f} s: {what}", file=sys.stderr, flush=True)


def median(values: Sequence[float]) -> float:
    order = sorted(values)
    middle = len(order) // 2
    return order[middle] if len(order) % 2 else (order[middle - 1] + order[middle]) / 2


def percentile(values: Sequence[float], part: float) -> float:
    """Return the value that `part` of 1 of them are at or below."""
    order = sorted(values)
    return order[min(len(order) - 1, int(len(order) * part))]


def shown(values: Sequence[float], unit: str) -> str:
    """Return the median with the range of the runs behind it."""
    if not values:
        return ""
    text = f"{_number(median(values))} {unit}"
    if len(values) > 1:
        text += f" ({_number(min(values))} to {_number(max(values))})"
    return text


def _number(value: float) -> str:
    if value == int(value) and abs(value) >= 1:
        return f"{int(value)}"
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"


def table(figures: Sequence[Figure]) -> str:
    """Return the figures as a Markdown table."""
    lines = ["| figure | sockbpf | compared with | ratio | goal |", "|---|---|---|---|---|"]
    for figure in figures:
        rival = f"{figure.rival}: {shown(figure.rival_values, figure.unit)}" if figure.rival else ""
        ratio = "" if figure.ratio is None else f"{figure.ratio:.3g}"
        verdict = {True: ", met", False: ", **missed**", None: ""}[figure.met]
        note = f"; {figure.note}" if figure.note else ""
        ours = shown(figure.values, figure.unit) + note
        lines.append(f"| {figure.name} | {ours} | {rival} | {ratio} | {figure.goal}{verdict} |")
    return "\n".join(lines)
