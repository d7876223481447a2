# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What rules add to a message: many of them below the gate, and one low threshold that is another port's.

All in one run of one monitor, which takes other rules in between, because the cost of the same programs differs
from start to start.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bench.cost import HIGH, KINDS, MESSAGES, SIZE, TIMES, build, message_ns
from bench.delivery import monitoring
from bench.figure import Figure, median
from tests.live.reloading import change

ROUNDS = 15
STANDING = 10 * 1024
"""Bytes in the queue all the time: over a gate of 1 KiB."""

BELOW_GOAL, ABOVE_GOAL = 1.03, 1.10
"""A message's time with such rules over that without."""

RULES: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "1000": [
        {"match": {"local_port": port, "remote_ip": "10.0.0.0/8"}, "thresholds": {"recv": "2GB"}}
        for port in range(1, 1001)
    ],
    "low": [{"match": {"local_port": 9}, "thresholds": {"send": "1KiB", "recv": "1KiB"}}],
    "low by prefix": [{"match": {"remote_ip": "10.0.0.0/8"}, "thresholds": {"send": "1KiB", "recv": "1KiB"}}],
}


def measure(*, quick: bool) -> list[Figure]:
    """Return what a message takes with and without rules."""
    rounds, times, count = (1, 1, 2_000) if quick else (ROUNDS, TIMES, MESSAGES)
    took: dict[tuple[str, str], list[float]] = {}
    with TemporaryDirectory() as folder, monitoring(pinned=False, **HIGH) as (monitor, _):
        program = build(folder)
        for _ in range(rounds):
            for name, rules in RULES.items():
                change(monitor, rules=rules)
                for kind in KINDS:
                    took.setdefault((name, kind), []).append(_least(program, kind, count, times, 0))
                    standing = _least(program, kind, count, times, STANDING)
                    took.setdefault((f"{name}, standing", kind), []).append(standing)
    return [
        figure
        for kind in KINDS
        for figure in (
            _figure(f"{kind.upper()}, 1000 rules", took["1000", kind], took["none", kind], BELOW_GOAL),
            _figure(
                f"{kind.upper()}, 10 KiB in the queue, 1 KiB for another port",
                *(took["low, standing", kind], took["none, standing", kind], ABOVE_GOAL),
            ),
            _figure(
                f"{kind.upper()}, 10 KiB in the queue, 1 KiB for another network",
                *(took["low by prefix, standing", kind], took["none, standing", kind], None),
            ),
        )
    ]


def _least(program: Path, kind: str, count: int, times: int, standing: int) -> float:
    return min(message_ns(program, kind, count, standing) for _ in range(times))


def _figure(what: str, ours: list[float], none: list[float], goal: float | None) -> Figure:
    return Figure(
        f"a message of {SIZE} bytes, {what}",
        "ns",
        tuple(ours),
        f"at most {goal:.2f} of that" if goal else "",
        median(ours) <= goal * median(none) if goal else None,
        "without rules",
        tuple(none),
    )
