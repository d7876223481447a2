# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Advice tried: a week of a simulated host, and the same week by what was advised; each rung of its ladder too."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.figure import Figure
from bench.replayed.days import DAY_S, PATTERNS, SETTINGS, cgroups, days_of
from bench.replayed.trial import Rung, Trial, tried

DAYS, QUICK_DAYS = 7, 1
CHANGED = {"sweep": {"recheck": "60s", "interval": "5m"}, "stalled": {"after": "5m"}}
"""So that fewer looks are played: none of it changes when a threshold is crossed."""


def midnight(days_ago: int) -> int:
    """Return when a day began here, Unix time."""
    now = time.localtime()
    return int(time.mktime((now.tm_year, now.tm_mon, now.tm_mday - days_ago, 0, 0, 0, 0, 0, -1)))


def trial(
    folder: Path, days: int, names: Sequence[str], ports: Sequence[int], *, by_unit: bool = False
) -> Trial:
    """Try advice on days that ended at the last midnight; of services by their ports, or by their units."""
    folder.mkdir()
    with cgroups() as place:
        record = days_of(days, names, ports, place if by_unit else None)
        return tried(folder, record, midnight(days), days * DAY_S, CHANGED)


def measure(*, quick: bool) -> list[Figure]:
    """Return how much of what advice said was so; of a quick day it is not to be believed."""
    names, ports = (("bursts", "hung reader"), [8000]) if quick else (tuple(PATTERNS), list(SETTINGS))
    days = QUICK_DAYS if quick else DAYS
    figures = []
    with TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp")) as folder:
        for by_unit in (False,) if quick else (False, True):
            of = trial(Path(folder, str(by_unit)), days, names, ports, by_unit=by_unit)
            figures += _figures(
                of, f"{days} days of {len(names) * len(ports)} {'units' if by_unit else 'ports'}"
            )
    return figures


def _figures(of: Trial, what: str) -> list[Figure]:
    for rung in (*of.rungs, *of.proposals):
        print(f"{rung}{f' <- {rung.reason}' if rung.is_proposed else ''}", file=sys.stderr)
    for name, why in of.unadvised.items():
        print(f"{name}: {why}", file=sys.stderr)
    exact = [rung for rung in of.rungs if rung.is_exact]
    rest = [rung for rung in of.rungs if not rung.is_exact]
    seconds = of.first.took_s, of.again.took_s
    return [
        _figure(f"{what}, each rung that advice counts exactly: told as often", exact),
        _figure(f"{what}, the other rungs: told within the bounds", rest),
        _figure(f"{what}, the rules that --write prints: told as proposed", of.proposals),
        Figure(f"{what}, played by the monitor", "s", seconds),
    ]


def _figure(name: str, rungs: Sequence[Rung]) -> Figure:
    right = sum(rung.is_right for rung in rungs)
    times = sum(rung.told for rung in rungs)
    return Figure(name, f"of {len(rungs)}", (right,), "all", right == len(rungs), note=f"told {times} times")
