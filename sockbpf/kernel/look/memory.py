# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How much memory the kernel uses for the buffers of all sockets of a protocol, and how much it may."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from sockbpf.record.event import Protocol
from sockbpf.record.totals import Memory

SOCKSTAT = Path("/proc/net/sockstat")
LIMITS = Path("/proc/sys/net/ipv4")


def memory_in_use(sockstat: Path = SOCKSTAT, limits: Path = LIMITS) -> dict[Protocol, Memory]:
    """Return it for each protocol, of the whole host; a protocol is absent where the kernel does not show it."""
    page = os.sysconf("SC_PAGE_SIZE")
    found: dict[Protocol, Memory] = {}
    with suppress(OSError):
        shown = sockstat.read_text()
        for protocol in Protocol:
            # The limits are sysctls of the first network namespace alone: in another one they are not there.
            with suppress(OSError, ValueError):
                used = re.search(rf"(?m)^{protocol.name}: .*\bmem (\d+)", shown)
                low, pressure, high = (limits / f"{protocol.name.lower()}_mem").read_text().split()
                if used:
                    found[protocol] = Memory(*(int(pages) * page for pages in (used[1], low, pressure, high)))
    return found
