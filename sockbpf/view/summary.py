# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The figures of a host's sockets as a page, and as one object of JSON."""

from __future__ import annotations

import json
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from rich.filesize import decimal
from rich.text import Text

from sockbpf.judge.totals import how_near
from sockbpf.record.event import Direction, Protocol
from sockbpf.record.facts import STATES
from sockbpf.view.columns import COLUMNS, Column, accept_text, end_text, fields, process_text
from sockbpf.view.sockets_table import OVER, sockets_table

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from rich.console import RenderableType

    from sockbpf.record.totals import Totals

QUEUES = (Direction.RECV, Direction.SEND)
LABEL = 11
"""The width of what stands in front of a line."""
NEAR = Column("near", lambda row: f"{how_near(row):.0%}", 0, is_number=True)
"""Size in percent of the threshold; of a share of the buffer what is charged."""


def summary_object(totals: Totals) -> str:
    """Return the figures as one line of JSON; sizes are bytes."""
    found: dict[str, Any] = {
        "namespaces": totals.namespaces,
        "sockets": {
            protocol.name.lower(): {STATES.get(state, str(state)): count for state, count in counts.items()}
            for protocol, counts in totals.states.items()
        },
        "queues": {
            protocol.name.lower(): {
                direction.name.lower(): totals.sizes.get((protocol, direction), 0) for direction in QUEUES
            }
            for protocol in totals.states
        },
        "over": totals.over,
        "nearest": [fields(row) | {"near": round(how_near(row), 4)} for row in totals.nearest],
        "listeners": totals.listeners,
        "waiting": totals.sizes.get((Protocol.TCP, Direction.ACCEPT), 0),
        "memory": {
            protocol.name.lower(): {
                name: getattr(memory, name) for name in ("used", "low", "pressure", "high")
            }
            for protocol, memory in totals.memory.items()
        },
        "counters": {
            name: {"total": total, "per_second": round(rate, 3)}
            for name, (total, rate) in totals.counters.items()
        },
    }
    if totals.fullest:
        found["fullest"] = fields(totals.fullest)
    return json.dumps(found, separators=(",", ":")).replace("\x7f", "\\u007f") + "\n"


def summary_page(totals: Totals, width: int, always: Collection[str]) -> Iterator[RenderableType]:
    """Yield the parts of the page; of the counters those that have counted something, and these in any case."""
    for protocol, counts in totals.states.items():
        states = ", ".join(f"{STATES.get(state, state)} {count}" for state, count in _most_first(counts))
        yield from _lines(
            protocol.name.lower(), f"{sum(counts.values())} sockets{': ' if states else ''}{states}", width
        )
    for protocol in totals.states:
        sizes = [
            f"{direction.name.lower()} {totals.sizes.get((protocol, direction), 0)}" for direction in QUEUES
        ]
        yield from _lines(f"{protocol.name.lower()} bytes", f"in queues: {', '.join(sizes)}", width)
    for protocol, memory in totals.memory.items():
        share = memory.used / memory.high if memory.high else 0
        said = f"{decimal(memory.used)} of {decimal(memory.high)}, {share:.1%}"
        said += f"; pressure from {decimal(memory.pressure)}"
        style = OVER if memory.used > memory.pressure else ""
        yield from _lines(f"{protocol.name.lower()} memory", said, width, style)
    if Protocol.TCP in totals.states:
        yield from _lines("listeners", _listeners(totals), width)
    yield from _lines("namespaces", str(totals.namespaces), width)
    yield from _lines("over", f"{totals.over} sockets", width, OVER if totals.over else "")
    if totals.nearest:
        yield Text("\nnearest to being over, in percent of the threshold", "bold")
        yield sockets_table(totals.nearest, width, (NEAR, *COLUMNS))[0]
    yield Text(f"\n{'counter':<26}{'since boot':>18}{'a second now':>14}", "bold")
    for name, (total, rate) in totals.counters.items():
        if total or name in always:
            yield Text(f"{name:<26}{total:>18}{rate:>14.1f}", OVER if rate and name in always else "")


def _listeners(totals: Totals) -> str:
    waiting = totals.sizes.get((Protocol.TCP, Direction.ACCEPT), 0)
    said = f"{totals.listeners}, {waiting} connections wait"
    row = totals.fullest
    if row is None:
        return said
    process = f" {process_text(row)}" if row.whose.pid else ""
    return f"{said}; fullest {accept_text(row)} on {end_text(row.socket.local_ip, row.socket.local_port)}{process}"


def _most_first(counts: Any) -> list[tuple[int, int]]:
    return sorted(((state, count) for state, count in counts.items() if count), key=lambda one: -one[1])


def _lines(label: str, text: str, width: int, style: str = "") -> Iterator[Text]:
    parts = wrap(text, max(width - LABEL, 20)) or [""]
    for place, part in enumerate(parts):
        yield Text(f"{'' if place else label:<{LABEL}}{part}", style)
