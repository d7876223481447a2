# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Every program of bpf/, compiled for this kernel whether or not it has the place to attach it to."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

from sockbpf.counters import Counters
from sockbpf.kernel.attach.loading import Loaded, load
from sockbpf.kernel.attach.probes import Probes
from sockbpf.kernel.attach.tables import SIZES, KernelLevels
from sockbpf.kernel.build.bytecode import Bytecode, bytecode_from
from sockbpf.kernel.build.choice import Sight
from sockbpf.kernel.build.clang import bytecode_of, compiled
from sockbpf.kernel.build.hooks import SEEN, HookKind
from sockbpf.kernel.build.order import Matching, Order, order_of
from sockbpf.kernel.build.shortcuts import ALL, Shortcut
from sockbpf.kernel.build.source import type_source


@dataclass(frozen=True)
class Everything:
    """Programs and tables as BCC has them, and as they were loaded from its bytecode; nothing is attached."""

    bpf: Any
    order: Order
    bytecode: Bytecode
    loaded: Loaded
    probes: Probes


def all_sights() -> list[Sight]:
    """Return every candidate of the table, as if each were chosen."""
    return [Sight(thing, candidate, ()) for thing, row in SEEN.items() for candidate in row]


@contextmanager
def every_program(
    shortcuts: Collection[Shortcut] = ALL,
    *,
    matching: Matching | None = Matching.IN_KERNEL,
    asked: Collection[str] = (),
) -> Iterator[Everything]:
    """Compile and load all, in this process; also the programs `asked`, which are attached to nothing."""
    sights = all_sights()
    order = order_of(sights, symbols={}, max_episodes=17, shortcuts=shortcuts, matching=matching)
    order = replace(
        order,
        flags=(*order.flags, *(f"-DWANT_{name}=1" for name in asked)),
        programs=order.programs | dict.fromkeys(asked, HookKind.TRACEPOINT.value),
    )
    types, layout = type_source("auto")
    bpf = compiled(order, layout)
    bytecode = bytecode_from(bytecode_of(bpf, order, types).to_bytes())
    loaded = load(bytecode)
    for name in SIZES:  # BCC's classes then show what is in the tables that the monitor reads
        bpf[name].map_fd = loaded.tables[name].fd
    probes = Probes(
        sights, loaded, KernelLevels((1009, 1009), clear=(1009, 1009)), perf_pages=8, counters=Counters()
    )
    yield Everything(bpf, order, bytecode, loaded, probes)
    probes.close()
    bpf.cleanup()
