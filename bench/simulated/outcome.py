# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A scene played against a receiver: what came of it, by what the receiver has."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from dataclasses import dataclass

from bench.databases import tree_cpu_s
from bench.simulated.clock import Clock
from bench.simulated.play import play
from bench.simulated.protocols import Protocol
from bench.simulated.receivers import Receiver, peak_mib
from bench.simulated.scenes import Scene
from bench.simulated.tally import Tally


@dataclass(frozen=True)
class Outcome:
    """Seconds are real ones, but where the tally or the clock has them."""

    tally: Tally
    clock: Clock
    took_s: float
    lost: int
    """Alerts that were told, that no host owes, and that the receiver has not."""
    twice: int
    """Alerts that the receiver has more than once."""
    memory_mib: float
    """The most that the receiver had."""
    cpu_s: float
    behind_cpu_s: float
    """Of the server behind the receiver."""
    own_cpu_s: float
    database_bytes: float | None
    """None if it has no database."""

    @property
    def is_right(self) -> bool:
        """Whether all is there once, and each episode came in its order."""
        tally = self.tally
        return not (
            tally.owed or tally.refused or tally.given_up or self.lost or self.twice or tally.out_of_order
        )


def outcome(scene: Scene, hosts: int, protocol: Protocol, to: Receiver) -> Outcome:
    """Play a scene, then ask the receiver what it has: nothing else may have told it anything."""
    size, used_s, behind_s = to.size(), tree_cpu_s(to.pid), to.behind_cpu_s()
    own_s, begun_s = time.process_time(), time.monotonic()
    tally, clock = asyncio.run(play(scene, hosts, to.url, protocol))
    took_s, own_s = time.monotonic() - begun_s, time.process_time() - own_s
    used_s, behind_s, memory_mib = tree_cpu_s(to.pid) - used_s, to.behind_cpu_s() - behind_s, peak_mib(to.pid)
    grown = None if size is None else (to.size() or 0.0) - size
    kept = Counter(to.kept(len(tally.told - tally.owed)))
    return Outcome(
        tally,
        clock,
        took_s,
        lost=len(tally.told - tally.owed - kept.keys()),
        twice=sum(number > 1 for number in kept.values()),
        memory_mib=memory_mib,
        cpu_s=used_s,
        behind_cpu_s=behind_s,
        own_cpu_s=own_s,
        database_bytes=grown,
    )
