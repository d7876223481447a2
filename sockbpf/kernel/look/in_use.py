# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A look that passes over a protocol of which a network namespace has no socket: most services' own have none.

The kernel has one table for the TCP sockets of all namespaces, and goes through all of it for each of them.
"""

from __future__ import annotations

import re
from contextlib import suppress
from typing import TYPE_CHECKING

from sockbpf.kernel.look.packed import handed_rows
from sockbpf.kernel.look.proc_file import start_of
from sockbpf.record.event import Protocol

if TYPE_CHECKING:
    from sockbpf.kernel.look.packed import Handed
    from sockbpf.kernel.look.row import Look, Row, Terms, Which

FOLDER = "/proc/thread-self/net"
COUNTS = {
    protocol: re.compile(rf"^{protocol.name}6?: inuse (\d+)".encode(), re.MULTILINE) for protocol in Protocol
}


def in_use(protocol: Protocol, folder: str = FOLDER) -> bool:
    """Tell whether the calling thread's network namespace may have sockets of a protocol that a look would find.

    These are counted as they enter and leave the kernel's tables, those in TIME-WAIT and SYN-RECV are not:
    net/ipv4/proc.c:sockstat_seq_show, net/ipv6/proc.c:sockstat6_seq_show. Where that is not shown there may be some.
    """
    try:
        shown = start_of(f"{folder}/sockstat")
        with suppress(FileNotFoundError):  # a kernel without IPv6
            shown += start_of(f"{folder}/sockstat6")
    except OSError:
        return True
    counts = COUNTS[protocol].findall(shown)
    return not counts or any(map(int, counts))


class WhereInUse:
    """A look by another one, where there is something to look at."""

    def __init__(self, look: Look) -> None:
        self._look = look

    @property
    def name(self) -> str:
        return self._look.name

    def rows(self, protocol: Protocol, terms: Terms) -> list[Row]:
        return self._look.rows(protocol, terms) if in_use(protocol) else []

    def handed(self, protocol: Protocol, which: Which, *, progress: bool = False) -> Handed:
        if not in_use(protocol):
            return handed_rows([])
        return self._look.handed(protocol, which, progress=progress)

    def close(self) -> None:
        self._look.close()
