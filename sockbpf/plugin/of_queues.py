# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The fullest queues of the sockets that are asked for, at this moment: without a monitor, by sock_diag."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockbpf.kernel.look.diag import Diag
from sockbpf.kernel.look.glance import glance
from sockbpf.monitor.sockets_now import SocketsNow
from sockbpf.plugin.verdict import Figure, verdict
from sockbpf.record.event import Direction, Protocol
from sockbpf.settings.config import by_default
from sockbpf.settings.filters import asked_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sockbpf.plugin.verdict import Ranges, Verdict
    from sockbpf.record.socket_row import SocketRow

METRICS = {"recv": Direction.RECV, "send": Direction.SEND, "accept": Direction.ACCEPT}
"""The figures: the size of the fullest queue of each kind."""

UNITS = {"recv": "B", "send": "B", "accept": ""}
MORE = (0, 5, 20, 100)
"""So many sockets are shown by the number of -v."""


def judged(
    filters: Mapping[str, Sequence[str]], protocols: tuple[Protocol, ...], ranges: Ranges, verbose: int
) -> Verdict:
    """Look at the sockets, and judge by the fullest queues; raise ConfigError for a filter that is none, OSError."""
    asked = asked_of(dict(filters), protocols)
    seen = glance(Diag(), protocols or tuple(Protocol), empties=False, listeners_only=False)
    rows = list(SocketsNow(by_default()).first(seen, asked, empties=False, limit=0).rows)
    figures = [
        Figure(
            name, max((_size(row, direction) for row in rows), default=0), f"fullest {name} {{}}", UNITS[name]
        )
        for name, direction in METRICS.items()
    ]
    shown = [_line(row) for row in rows[: MORE[min(verbose, 3)]]]
    shown += [f"not listed: {each}" for each in seen.missed] if verbose else []
    worst = f"worst: {_line(rows[0])}" if rows else ""
    return verdict(figures, ranges, detail=worst, lines=shown)


def _size(row: SocketRow, direction: Direction) -> int:
    return row.queues[direction].size if direction in row.queues else 0


def _line(row: SocketRow) -> str:
    socket = row.socket
    ends = ((socket.local_ip, socket.local_port), (socket.remote_ip, socket.remote_port))
    local, remote = (f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}" for ip, port in ends)
    sizes = " ".join(f"{direction.name} {queue.size}" for direction, queue in row.queues.items())
    return f"{row.whose.comm or '?'} {socket.protocol.name.lower()} {local} to {remote} {sizes}"
