# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What open episodes of other sockets add to the cost of a message: with none, one and a thousand of them.

All in one run of one monitor, because the cost of the same programs differs from start to start; and each between two
measurements with none open, because what a machine does besides changes from second to second. In all of them the
hook is attached that sees these queues drain, as it is while one is over and for a minute after; what it adds is
a figure of its own.
"""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.cost import KINDS, MESSAGES, SIZE, TIMES, build, message_ns
from bench.delivery import DATAGRAM, THRESHOLD, monitoring, reader
from bench.figure import Figure, median
from tests.live.stamping import Stamps

OPEN = (1, 1000)
ROUNDS, TURNS = 5, 5
GOAL = 1.10
"""The added time over that with none open, the same hooks attached."""

SETTINGS = {
    "thresholds": {"send": "1GiB", "recv": THRESHOLD},
    "events": ["exceeded"],
    "repeat": "1h",
    "fold": {"above": 0},
}


def measure(*, quick: bool) -> list[Figure]:
    rounds, turns, times, count = (1, 1, 1, 2_000) if quick else (ROUNDS, TURNS, TIMES, MESSAGES)
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    quiet: dict[str, list[float]] = {}
    attached: dict[str, list[float]] = {}
    added: dict[tuple[int, str], list[float]] = {}
    more: dict[tuple[int, str], list[float]] = {}
    with TemporaryDirectory() as folder:
        program = build(folder)

        def took() -> dict[str, float]:
            return {kind: _least(program, kind, count, times) for kind in KINDS}

        for _ in range(rounds):
            alone = took()
            with monitoring(pinned=False, **SETTINGS) as (_, stamps):
                none = took()
                with over(1, stamps):
                    pass
                before = took()
                for kind in KINDS:
                    quiet.setdefault(kind, []).append(none[kind] - alone[kind])
                    attached.setdefault(kind, []).append(before[kind] - alone[kind])
                for wanted in OPEN * turns:
                    with over(wanted, stamps):
                        with_them = took()
                    after = took()
                    for kind in KINDS:
                        without = (before[kind] + after[kind]) / 2
                        added.setdefault((wanted, kind), []).append(without - alone[kind])
                        more.setdefault((wanted, kind), []).append(with_them[kind] - without)
                    before = after
    return [
        *(_attached(kind, attached[kind], quiet[kind]) for kind in KINDS),
        *(_figure(kind, wanted, added, more) for kind in KINDS for wanted in OPEN),
    ]


@contextmanager
def over(count: int, stamps: Stamps) -> Iterator[None]:
    """Have the receive queues of so many UDP sockets over the threshold, all told; they are read at the end."""
    with ExitStack() as stack:
        writer, readers = reader(stack), [reader(stack) for _ in range(count)]
        for each in readers:
            writer.sendto(bytes(DATAGRAM), each.getsockname())
        for _ in readers:
            stamps.next(protocol="udp")  # to send them costs the same two cores
        yield
        for each in readers:
            each.recv(DATAGRAM)


def _least(program: Path, kind: str, count: int, times: int) -> float:
    return min(message_ns(program, kind, count) for _ in range(times))


def _attached(kind: str, attached: list[float], quiet: list[float]) -> Figure:
    return Figure(
        f"added to a message of {SIZE} bytes, {kind.upper()}, while what sees UDP queues drain is attached",
        "ns",
        tuple(attached),
        rival="while it is not",
        rival_values=tuple(quiet),
    )


def _figure(
    kind: str,
    wanted: int,
    added: dict[tuple[int, str], list[float]],
    more: dict[tuple[int, str], list[float]],
) -> Figure:
    none = median(added[wanted, kind])
    return Figure(
        f"added to a message of {SIZE} bytes, {kind.upper()}, {wanted} sockets over elsewhere",
        "ns",
        tuple(none + each for each in more[wanted, kind]),
        f"at most {GOAL:.2f} of that",
        median(more[wanted, kind]) <= (GOAL - 1) * none,
        "with none over, the same hooks attached",
        tuple(added[wanted, kind]),
        f"{median(more[wanted, kind]):+.0f} ns",
    )
