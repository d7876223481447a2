# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The figures of this moment: for people, without a running monitor."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING

from sockbpf.judge.ranking import is_over
from sockbpf.judge.totals import fullest_of, growth, nearest_of, sizes_of
from sockbpf.kernel.look.counters import CounterReader
from sockbpf.kernel.look.glance import Glance, glance, namespaces_entered
from sockbpf.kernel.look.memory import memory_in_use
from sockbpf.monitor.sockets_now import SocketsNow
from sockbpf.record.event import Protocol
from sockbpf.record.totals import Totals

if TYPE_CHECKING:
    from collections.abc import Collection

    from sockbpf.kernel.look.row import Look
    from sockbpf.settings.config import Config

APART_S = 1.0
"""From one reading of the counters to the next."""

USUAL = (
    *("TcpRetransSegs", "TcpAttemptFails", "TcpEstabResets", "TcpExtTCPTimeouts"),
    *("TcpExtListenOverflows", "TcpExtListenDrops", "TcpExtTCPBacklogDrop", "TcpExtTCPRcvQDrop"),
    *("TcpExtPruneCalled", "TcpExtRcvPruned", "TcpExtTCPMemoryPressures", "TcpExtTCPAbortOnMemory"),
    *("UdpInErrors", "UdpRcvbufErrors", "UdpSndbufErrors", "UdpMemErrors"),
    *("Udp6InErrors", "Udp6RcvbufErrors", "Udp6SndbufErrors", "Udp6MemErrors"),
)
"""Counters of what is lost, refused or sent again; those that the settings name come first."""


def totals_now(config: Config, look: Look, protocols: Collection[Protocol]) -> tuple[Totals, Glance]:
    """Return the figures, and the look that they are of. It takes a second: counters are read twice."""
    reader = CounterReader((*config.rates, *USUAL))
    before, begun_s = _counts(reader), time.monotonic()
    seen = glance(look, protocols, empties=True, listeners_only=False)
    now = SocketsNow(config)
    full = now.full(seen)
    states: dict[Protocol, Counter[int]] = {protocol: Counter() for protocol in protocols}
    for _, protocol, handed in seen.handed:
        states[protocol] += handed.states
    for _, row in seen.listeners:
        states[Protocol.TCP][row.detail.state if row.detail else 0] += 1
    fullest = fullest_of(full)
    named = now.named([*nearest_of(full), *((fullest,) if fullest else ())])
    time.sleep(max(begun_s + APART_S - time.monotonic(), 0))
    after = _counts(reader)
    counters = growth(before, after, time.monotonic() - begun_s)
    totals = Totals(
        namespaces=len(after),
        states=states,
        sizes=sizes_of(full),
        over=sum(map(is_over, full)),
        nearest=tuple(named[:-1] if fullest else named),
        listeners=len(seen.listeners),
        fullest=named[-1] if fullest else None,
        memory={protocol: its for protocol, its in memory_in_use().items() if protocol in states},
        counters={name: counters[name] for name in (*config.rates, *USUAL) if name in counters},
    )
    return totals, seen


def _counts(reader: CounterReader) -> dict[int, dict[str, int]]:
    """Return the counters of each network namespace that can be entered."""
    return {netns: reader.read() for netns in namespaces_entered()}
