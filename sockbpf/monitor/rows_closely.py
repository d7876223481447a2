# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Looks closely at the first sockets of a list, or at one: how long ago queues moved, why what is over is over."""

from __future__ import annotations

import time
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import TYPE_CHECKING

from sockbpf.errors import UnsupportedError
from sockbpf.judge.causes import judged
from sockbpf.judge.ranking import is_empty
from sockbpf.judge.symptoms import STILL_NS, Symptoms
from sockbpf.kernel.look.close import CloseLook
from sockbpf.monitor.asking import ask
from sockbpf.monitor.causes import readers
from sockbpf.monitor.told_over import told_over
from sockbpf.process.clock import monotonic_ns
from sockbpf.record.alert import EXCEEDED, Notice
from sockbpf.record.event import OF_BYTES, Direction, Mode, Protocol
from sockbpf.record.moment import ends_of
from sockbpf.record.why import Cause, Why

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

    from sockbpf.record.closeup import Closeup
    from sockbpf.record.event import Socket
    from sockbpf.record.moment import Ends
    from sockbpf.record.socket_row import SocketRow

MOST = 1000
"""So many sockets are looked at closely: the first, which are the worst. Each takes some 50 µs, or, where those who
share it are looked for too, of a listener or a stopped process, some ms."""
ANSWER_S = 0.5
"""So long the monitor is waited for."""
CAUSES = {each.value for each in Cause}
AGAIN_NS = STILL_NS + 50 * 10**6
"""So long after the first look there is a second one, where the first says no cause."""


@dataclass(slots=True)
class RowsClosely:
    """The rows as `of` yields them; then `left_out` is how many hold something and were not looked at closely."""

    monitor: Path | None
    """Where the running monitor is asked for a cause that a look does not show."""
    left_out: int = 0
    _look: CloseLook = field(default_factory=CloseLook)

    def of(self, rows: Iterable[SocketRow]) -> Iterator[SocketRow]:
        """Yield the rows; it takes a second more where neither one look nor the monitor says why a queue is over."""
        every = iter(rows)
        first = list(islice(every, MOST))
        with closing(self._look):
            yield from self._all(first)
        for row in every:
            self.left_out += not is_empty(row)
            yield row

    def _all(self, rows: list[SocketRow]) -> list[SocketRow]:
        begun_ns = monotonic_ns()
        before = [None if is_empty(row) else self._look.look(row.socket, row.whose.pid) for row in rows]
        rows = [_with_ages(row, seen) if seen else row for row, seen in zip(rows, before, strict=True)]
        rows = [
            _with_causes(row, seen, None) if seen else row for row, seen in zip(rows, before, strict=True)
        ]
        if any(map(_is_unsaid, rows)) and (told := self._told()):
            rows = [_with_told(row, told) for row in rows]
        unsaid = [place for place, row in enumerate(rows) if _is_unsaid(row)]
        if unsaid:
            time.sleep(max(begun_ns + AGAIN_NS - monotonic_ns(), 0) / 1e9)
        for place in unsaid:
            if now := self._look.look(rows[place].socket, rows[place].whose.pid):
                rows[place] = _with_causes(rows[place], now, before[place])
        return rows

    def _told(self) -> dict[tuple[Ends, str], Why]:
        """Return the causes that the running monitor has found, by socket and queue."""
        with suppress(UnsupportedError):
            episodes = told_over(ask(self.monitor, ANSWER_S)).episodes if self.monitor else ()
            return {
                (each.ends, each.type): Why(Cause(each.cause), None, each.reason)
                for each in episodes
                if each.ends and each.cause in CAUSES
            }
        return {}


def _is_unsaid(row: SocketRow) -> bool:
    return any(not why.cause.is_known for why in row.whys.values())


def _with_told(row: SocketRow, told: Mapping[tuple[Ends, str], Why]) -> SocketRow:
    ends = ends_of(row)
    whys = {
        direction: why if why.cause.is_known else told.get((ends, direction.name), why)
        for direction, why in row.whys.items()
    }
    return replace(row, whys=whys)


@dataclass(slots=True)
class OneClosely:
    """Looks at one socket again and again, as long as it is the same."""

    _look: CloseLook = field(default_factory=CloseLook)
    _socket: Socket | None = None
    _before: Closeup | None = None
    """The first look since which nothing has left a queue that is over."""

    def of(self, row: SocketRow) -> SocketRow:
        """Return the row with why it is over, if it is."""
        over = [direction for direction, queue in row.queues.items() if queue.is_over]
        now = self._look.look(row.socket, row.whose.pid) if over else None
        if now is None:
            return row
        if row.socket != self._socket:
            self._socket, self._before = row.socket, None
        row = _with_causes(row, now, self._before)
        before = self._before
        if before is None or any(now.left(each) != before.left(each) for each in over):
            self._before = now
        return row

    def close(self) -> None:
        """Let go of what looks."""
        self._look.close()


def _with_ages(row: SocketRow, seen: Closeup) -> SocketRow:
    ages = {direction: seen.age_ms(direction) for direction in OF_BYTES if row.queues.get(direction)}
    known = {
        direction: age for direction, age in ages.items() if age is not None and row.queues[direction].size
    }
    return replace(row, age_ms=known)


def _with_causes(row: SocketRow, now: Closeup, before: Closeup | None) -> SocketRow:
    """Return the row with the cause of each queue that is over; one that was found before stays."""
    over = [direction for direction, queue in row.queues.items() if queue.is_over]
    found = {
        direction: _why(row, direction, now, before)
        for direction in over
        if direction not in row.whys or not row.whys[direction].cause.is_known
    }
    return replace(row, whys={**row.whys, **found})


def _why(row: SocketRow, direction: Direction, now: Closeup, before: Closeup | None) -> Why:
    queue, whose = row.queues[direction], row.whose
    facts = replace(queue.facts, drops=_dropped(row, direction, now, before))
    notice = Notice(
        EXCEEDED, "", now.ns, now.ns, row.socket, direction, Mode.POLL, queue.size, queue.size,
        queue.threshold or 0, whose.pid, whose.comm, condition=queue.condition, facts=facts,
    )  # fmt: skip
    threads = readers(notice, row.socket) if direction is not Direction.SEND else ()
    return judged(Symptoms(notice, now, before, threads))


def _dropped(row: SocketRow, direction: Direction, now: Closeup, before: Closeup | None) -> int | None:
    """Return what was dropped between the two looks: datagrams, of a listener connections; None if not known."""
    counts = direction is Direction.ACCEPT or (
        direction is Direction.RECV and row.socket.protocol is Protocol.UDP
    )
    memories = [each.memory for each in (before, now) if each]
    drops = [each.drops for each in memories if each and each.drops is not None]
    return (drops[1] - drops[0]) % 2**32 if counts and len(drops) == len((before, now)) else None
