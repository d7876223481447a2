# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What open episodes of other sockets add to the cost of a message: with none, one and a thousand of them.

All in one run of one monitor, because the cost of the same programs differs from start to start.
"""

from __future__ import annotations

import resource
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.cost import KINDS, MESSAGES, SIZE, TIMES, build, message_ns
from bench.delivery import DATAGRAM, THRESHOLD, monitoring, reader
from bench.figure import Figure, median

OPEN = (0, 1, 1000)
ROUNDS = 7
GOAL = 1.10
"""The added time over that with none open."""

SETTINGS = {
    "thresholds": {"send": "1GiB", "recv": THRESHOLD},
    "events": ["exceeded"],
    "repeat": "1h",
    "fold": {"above": 0},
}


def measure(*, quick: bool) -> list[Figure]:
    rounds, times, count = (1, 1, 2_000) if quick else (ROUNDS, TIMES, MESSAGES)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    added: dict[tuple[int, str], list[float]] = {}
    with TemporaryDirectory() as folder:
        program = build(folder)
        for _ in range(rounds):
            alone = {kind: _least(program, kind, count, times) for kind in KINDS}
            with monitoring(pinned=False, **SETTINGS), ExitStack() as stack:
                writer = reader(stack)
                stand = 0
                for wanted in OPEN:
                    while stand < wanted:
                        writer.sendto(bytes(DATAGRAM), reader(stack).getsockname())
                        stand += 1
                    for kind in KINDS:
                        took = _least(program, kind, count, times)
                        added.setdefault((wanted, kind), []).append(took - alone[kind])
    return [_figure(kind, wanted, added) for kind in KINDS for wanted in OPEN[1:]]


def _least(program: Path, kind: str, count: int, times: int) -> float:
    return min(message_ns(program, kind, count) for _ in range(times))


def _figure(kind: str, wanted: int, added: dict[tuple[int, str], list[float]]) -> Figure:
    ours, none = added[wanted, kind], added[0, kind]
    return Figure(
        f"added to a message of {SIZE} bytes, {kind.upper()}, {wanted} sockets over elsewhere",
        "ns",
        tuple(ours),
        f"at most {GOAL:.2f} of that",
        median(ours) <= GOAL * median(none),
        "with none over",
        tuple(none),
    )
