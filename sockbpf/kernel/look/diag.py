# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A look by sock_diag: every socket is handed over as a message, and judged here."""

from __future__ import annotations

import logging
import socket
from typing import TYPE_CHECKING

from sockbpf.kernel.look.packed import handed_rows
from sockbpf.kernel.look.row import Terms, Which
from sockbpf.kernel.look.sock_diag import dump, dump_mptcp, had_mptcp, shows_what_was_read
from sockbpf.record.event import Protocol

if TYPE_CHECKING:
    from sockbpf.kernel.look.packed import Handed
    from sockbpf.kernel.look.row import Row

log = logging.getLogger(__name__)

FAMILIES = (socket.AF_INET, socket.AF_INET6)


class Diag:
    """Dumps of sock_diag, as `ss` takes them."""

    name = "sock_diag"

    def __init__(self) -> None:
        self._udp_unsure = shows_what_was_read()
        if self._udp_unsure:
            log.info(
                "this kernel counts UDP datagrams that were read as unread, up to a quarter of the receive buffer: "
                "so much more must stand in a queue for a sweep to find it over"
            )

    def rows(self, protocol: Protocol, terms: Terms) -> list[Row]:
        """Return the sockets of the calling thread's network namespace that are asked for; raise OSError."""
        unsure = self._udp_unsure and protocol is Protocol.UDP
        paths = _MptcpPaths() if protocol is Protocol.TCP else None
        progress = terms.progress and paths is not None
        rows = [
            row
            for family in FAMILIES
            for row in dump(family, protocol, unsure=unsure, progress=progress, take=terms.take)
        ]
        if paths is None or not rows:
            return rows
        paths.look()  # at those that came meanwhile
        return [row for row in rows if row not in paths]

    def handed(self, protocol: Protocol, which: Which, *, progress: bool = False) -> Handed:
        """Return such sockets of the calling thread's network namespace; raise OSError."""
        return handed_rows(self.rows(protocol, Terms(which, progress=progress)))

    def close(self) -> None:
        """Do nothing: nothing is held."""


class _MptcpPaths:
    """The TCP sockets that are paths of an MPTCP connection: what they receive is moved to its own queue at once."""

    def __init__(self) -> None:
        """Look at the connections of the calling thread's namespace; raise OSError."""
        self._inodes: set[int] = set()
        self._ends: set[tuple[bytes, ...]] = set()
        self.look()

    def look(self) -> None:
        """Add those that there are now."""
        for family in FAMILIES if had_mptcp() else ():
            for row in dump_mptcp(family):
                self._inodes.add(row.inode)
                self._ends.add(row.ends)
        self._inodes.discard(0)  # who was closed or not accepted is known by addresses and ports alone

    def __contains__(self, row: Row) -> bool:
        return row.inode in self._inodes or row.ends in self._ends
