# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which UDP sockets dropped datagrams since the look before: each socket has a count of its own in the kernel."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from sockbpf.kernel.look.row import socket_of
from sockbpf.kernel.look.sock_diag import dump
from sockbpf.record.event import Protocol

if TYPE_CHECKING:
    from sockbpf.kernel.look.row import Row
    from sockbpf.record.rate import Droppers

MOST = 16
"""So many sockets of a look are named, those that dropped most."""

SHARE = 20
"""A look may take one part in this many of the time."""


class DropLooks:
    """Remembers the counts of sockets that have dropped something, by network namespace. For one thread."""

    def __init__(self) -> None:
        self._before: dict[int, dict[int, int]] = {}
        """Namespace -> inode -> its count. A socket that is not there has dropped nothing yet."""
        self._next_s = 0.0

    def look(self, netns: int) -> Droppers | None:
        """Return who dropped since the last look at this namespace, which the calling thread is in.

        The first look finds nobody. Return None, without a look, too soon after one that took long.
        """
        begun_s = time.monotonic()
        if netns in self._before and begun_s < self._next_s:
            return None
        rows = _rows_with_drops()
        self._next_s = time.monotonic() + (time.monotonic() - begun_s) * SHARE
        before = self._before.get(netns)
        self._before[netns] = {row.inode: drops for row, drops in rows}
        if before is None:
            return ()
        rose = [(row, drops - before.get(row.inode, 0)) for row, drops in rows]
        worst = sorted((one for one in rose if one[1] > 0), key=lambda one: -one[1])[:MOST]
        return tuple((socket_of(row, Protocol.UDP, netns), drops) for row, drops in worst)

    def forget_others(self, known: frozenset[int]) -> None:
        """Forget the namespaces that are not among these."""
        for netns in self._before.keys() - known:
            del self._before[netns]


def _rows_with_drops() -> list[tuple[Row, int]]:
    rows: list[tuple[Row, int]] = []
    for family in (socket.AF_INET, socket.AF_INET6):
        with suppress(OSError):  # udp_diag may be missing: then no socket is named
            rows += [
                (row, row.detail.drops)
                for row in dump(family, Protocol.UDP)
                if row.detail and row.detail.drops and row.inode
            ]
    return rows
