# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Look after look at all sockets, for `sockbpf top`: for one thread at a time, with a bounded share of a core."""

from __future__ import annotations

import os
import sys
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from sockbpf.errors import UnsupportedError
from sockbpf.kernel.look.glance import glance
from sockbpf.monitor.asking import ask
from sockbpf.monitor.sockets_now import SocketsNow
from sockbpf.monitor.told_over import told_over
from sockbpf.record.event import Protocol
from sockbpf.record.moment import Moment, Wanted

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from sockbpf.kernel.look.row import Look, Row
    from sockbpf.monitor.rows_closely import OneClosely
    from sockbpf.record.event import Socket
    from sockbpf.record.moment import Told
    from sockbpf.record.socket_row import SocketRow, Whose
    from sockbpf.settings.config import Config

EVERY_S = 1.0
SHARE = 0.04
"""The part of a core that looks take at most: on a host with very many full queues there are fewer."""
MOST_ROWS = 200
"""Of more sockets that hold something the worst alone are shown, unless all are asked for."""
ALL = Wanted()
ANSWER_S = 0.5
"""So long the monitor is waited for."""
OWNERS_S = 30.0
"""After so long it is searched again whose the sockets are."""
OWNERS_MOST = 20_000
"""The same after so many sockets more than twice those of now."""
WATCHING = "watching"
WITHOUT_ROOT = "without root: only this network namespace, and processes of this user"


class LiveLooks:
    """Takes one look at a time."""

    def __init__(self, config: Config, make: Callable[[], Look], monitor: Path) -> None:
        self._config = config
        self._make = make
        self._look: Look | None = None
        self._closely: OneClosely | None = None
        self._monitor = monitor
        self._now = SocketsNow(config)
        self._owners: dict[Socket, Whose] = {}
        self._owners_s = time.monotonic()
        self._notes = () if os.geteuid() == 0 else (WITHOUT_ROOT,)

    def moment(self, wanted: Wanted = ALL) -> Moment:
        """Look once. Raise OSError."""
        self._look = self._look or self._make()  # which can take a second: by now the screen is there
        cpu_s = time.thread_time()
        seen = glance(self._look, tuple(Protocol), empties=False, listeners_only=False, progress=True)
        told, why_not = self._told()
        ports = _ports_of(told)

        def is_kept(row: Row) -> bool:
            return row.inode in wanted.inodes or (row.local_port, row.remote_port) in ports

        most = sys.maxsize if wanted.is_all else MOST_ROWS
        rows, rest = self._now.worst(seen, most, is_kept)
        some = rows[: wanted.named]
        rows[: len(some)] = self._named(some)
        if told is None:
            rows = [self._explained(row) if row.socket.inode in wanted.inodes else row for row in rows]
        every_s = max((time.thread_time() - cpu_s) / SHARE, EVERY_S)
        notes = (*self._notes, *why_not, *seen.missed)
        return Moment(time.monotonic(), time.time(), rows, told, every_s, notes, rest)

    def _explained(self, row: SocketRow) -> SocketRow:
        """Return the chosen socket with why it is over, which no monitor says."""
        if self._closely is None:
            # It takes memory that most sessions can do without.
            from sockbpf.monitor.rows_closely import OneClosely

            self._closely = OneClosely()
        return self._closely.of(row)

    def close(self) -> None:
        """Let go of what is held."""
        if self._closely:
            self._closely.close()
        if self._look:
            self._look.close()

    def _named(self, some: list[SocketRow]) -> list[SocketRow]:
        """Return these rows with whose they are. Each socket is searched for once in a while, not at each look."""
        is_old = time.monotonic() - self._owners_s > OWNERS_S
        if is_old or len(self._owners) > OWNERS_MOST + 2 * len(some):
            self._now, self._owners, self._owners_s = SocketsNow(self._config), {}, time.monotonic()
        unknown = [row for row in some if row.socket not in self._owners]
        if unknown:
            self._owners |= {row.socket: row.whose for row in self._now.named(unknown)}
        return [replace(row, whose=self._owners[row.socket]) for row in some]

    def _told(self) -> tuple[Told | None, tuple[str, ...]]:
        """Return what the running monitor says is over; if it says nothing, why not, unless none runs."""
        try:
            status = ask(self._monitor, ANSWER_S)
        except UnsupportedError as fault:
            return None, (str(fault),) if self._is_there() else ()
        if status["state"] != WATCHING:
            return None, (f"the running monitor does not know yet what is over: {status['state']}",)
        return told_over(status), ()

    def _is_there(self) -> bool:
        with suppress(OSError):
            return self._monitor.exists()
        return False


def _ports_of(told: Told | None) -> set[tuple[bytes, bytes]]:
    """Return local and remote ports, as the kernel has them, of the sockets with open episodes."""
    ends = [each.ends for each in told.episodes if each.ends] if told else []
    return {(_port(local), _port(remote)) for _, _, local, _, remote, _ in ends}


def _port(number: int) -> bytes:
    return (number & 0xFFFF).to_bytes(2, "big")
