"""Every program of bpf/, compiled for this kernel whether or not it has the place to attach it to."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from sockbpf.counters import Counters
from sockbpf.kernel.choice import Sight
from sockbpf.kernel.compile import compiled, load
from sockbpf.kernel.handover import Loaded, receive, send
from sockbpf.kernel.hooks import SEEN
from sockbpf.kernel.order import order_of
from sockbpf.kernel.probes import Probes
from sockbpf.kernel.source import type_source
from sockbpf.kernel.tables import Levels


@dataclass(frozen=True)
class Everything:
    """The same programs and tables as BCC has them and as they were handed over; nothing is attached."""

    bpf: Any
    loaded: Loaded
    probes: Probes


@contextmanager
def every_program() -> Iterator[Everything]:
    """Compile and load all, in this process."""
    sights = [Sight(thing, candidate, ()) for thing, row in SEEN.items() for candidate in row]
    order = order_of(sights, symbols={}, max_episodes=17)
    types, layout = type_source("auto")
    bpf = compiled(order, layout)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with ours, theirs:
        send(theirs, load(bpf, order, types))
        loaded = receive(ours)
    assert isinstance(loaded, Loaded)
    probes = Probes(sights, loaded, Levels(1009, 1009, clear_ratio=1), perf_pages=8, counters=Counters())
    yield Everything(bpf, loaded, probes)
    probes.close()
    bpf.cleanup()
