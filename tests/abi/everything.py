"""Every program of bpf/, compiled for this kernel whether or not it has the place to attach it to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sockbpf.counters import Counters
from sockbpf.kernel.bytecode import Bytecode, bytecode_from
from sockbpf.kernel.choice import Sight
from sockbpf.kernel.compile import bytecode_of, compiled
from sockbpf.kernel.hooks import SEEN
from sockbpf.kernel.loading import Loaded, load
from sockbpf.kernel.order import Order, order_of
from sockbpf.kernel.probes import Probes
from sockbpf.kernel.source import type_source
from sockbpf.kernel.tables import SIZES, Levels


@dataclass(frozen=True)
class Everything:
    """Programs and tables as BCC has them, and as they were loaded from its bytecode; nothing is attached."""

    bpf: Any
    order: Order
    bytecode: Bytecode
    loaded: Loaded
    probes: Probes


@contextmanager
def every_program(*, shortcuts: bool = True) -> Iterator[Everything]:
    """Compile and load all, in this process."""
    sights = [Sight(thing, candidate, ()) for thing, row in SEEN.items() for candidate in row]
    order = order_of(sights, symbols={}, max_episodes=17, shortcuts=shortcuts)
    types, layout = type_source("auto")
    bpf = compiled(order, layout)
    bytecode = bytecode_from(bytecode_of(bpf, order, types).to_bytes())
    loaded = load(bytecode)
    for name in SIZES:  # BCC's classes then show what is in the tables that the monitor reads
        bpf[name].map_fd = loaded.tables[name].fd
    probes = Probes(sights, loaded, Levels(1009, 1009, clear_ratio=1), perf_pages=8, counters=Counters())
    yield Everything(bpf, order, bytecode, loaded, probes)
    probes.close()
    bpf.cleanup()
