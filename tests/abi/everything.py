"""Every program of bpf/, compiled for this kernel whether or not it has the place to attach it to."""

from __future__ import annotations

from sockbpf.counters import Counters
from sockbpf.kernel.choice import Sight
from sockbpf.kernel.hooks import SEEN
from sockbpf.kernel.probes import Levels, Probes


def every_program() -> Probes:
    """Compile all; nothing is attached."""
    sights = [Sight(thing, candidate, ()) for thing, row in SEEN.items() for candidate in row]
    return Probes(
        sights,
        Levels(1009, 1009, clear_ratio=1),
        symbols={},
        types="auto",
        perf_pages=8,
        max_episodes=17,
        counters=Counters(),
    )
