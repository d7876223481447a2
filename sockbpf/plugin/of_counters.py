# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How fast counters of this network namespace rise, by `nstat`'s names: without a monitor, and without root."""

from __future__ import annotations

import time
from difflib import get_close_matches
from typing import TYPE_CHECKING

from sockbpf.kernel.look.counters import CounterReader, read_all
from sockbpf.plugin.verdict import LABEL_CHARACTERS, Figure, verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sockbpf.plugin.verdict import Ranges, Verdict

DEFAULT = ("UdpRcvbufErrors", "Udp6RcvbufErrors", "UdpSndbufErrors", "TcpExtListenDrops", "TcpExtTCPRcvQDrop")
"""Datagrams and segments dropped because a queue was full."""

SECONDS = 1.0


def checked(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names of counters that this kernel has; raise ValueError, OSError."""
    known = read_all()
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, 3)
            hint = f", did you mean {', '.join(near)}?" if near else "; `nstat -az` prints them"
            raise ValueError(f"this kernel has no counter {name!r}{hint}")
    if len({name[:LABEL_CHARACTERS] for name in names}) < len(names):
        raise ValueError(f"the names must differ in their first {LABEL_CHARACTERS} characters, as labels do")
    return tuple(names)


def those_here(names: Sequence[str]) -> tuple[str, ...]:
    """Return those of these counters that this kernel has; raise OSError."""
    known = read_all()
    return tuple(name for name in names if name in known)


def judged(names: Sequence[str], ranges: Ranges, verbose: int) -> Verdict:
    """Read the counters twice, a second apart, and judge by how much they rise a second; raise OSError."""
    reader = CounterReader(names)
    before, begun_s = reader.read(), time.monotonic()
    time.sleep(SECONDS)
    after, ended_s = reader.read(), time.monotonic()
    rates = {name: max(after[name] - before[name], 0) / (ended_s - begun_s) for name in names}
    figures = [Figure(name, rate, f"{name} {{}}/s") for name, rate in rates.items()]
    lines = [f"{name}: {after[name]} in all" for name in names] if verbose else []
    return verdict(figures, ranges, lines=lines)
