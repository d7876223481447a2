# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How advice is drawn: a row of what was seen of each service, and what was tried for one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.markup import escape
from rich.table import Table

from sockbpf.judge.advice import S
from sockbpf.judge.advice_proposal import in_words, size
from sockbpf.record.text import printable

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sockbpf.judge.advice_proposal import Rung, Spread
    from sockbpf.record.history import Series


def seen_table() -> Table:
    """Return the table of services, without rows."""
    table = Table(box=None, pad_edge=False)
    for name in ("service", "", "size p50", "p99", "max", "fill p50", "p99", "max", "not empty", "told"):
        table.add_column(name, justify="left" if name in {"service", ""} else "right", no_wrap=True)
    return table


def seen_row(series: Series, sizes: Spread, fill: Spread, busy_s: int, times: int) -> list[str]:
    """Return what was seen of a service and how often it was told, as a row of that table."""
    shares = [f"{value}%" for value in fill]
    return [
        escape(printable(series.service)),
        f"{series.protocol} {series.type}",
        *(_short(value) for value in sizes),
        *shares,
        _span(busy_s),
        str(times),
    ]


def tried_table(rungs: Sequence[Rung]) -> Table:
    """Return the table of the levels that were tried for a service."""
    table = Table(box=None, pad_edge=False)
    for name in ("threshold", "hold", "would have told", ""):
        table.add_column(name, justify="right" if name in {"threshold", "hold"} else "left", no_wrap=True)
    for rung in rungs:
        its = rung.levels
        exactly = "exact" if rung.count.is_exact else "within bounds"
        table.add_row(size(its.threshold), f"{its.hold_ns / S:g} s", in_words(rung.count), exactly)
    return table


def _short(amount: int) -> str:
    for unit, length in (("G", 2**30), ("M", 2**20), ("K", 2**10)):
        if amount >= length:
            return f"{amount / length:.1f}{unit}"
    return str(amount)


def _span(seconds: int) -> str:
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds / length:.1f} {unit}"
    return f"{seconds} s"
