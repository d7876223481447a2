# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The other end of a connection, where it is on this host."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sockbpf.record.closeup import Thread


@dataclass(frozen=True, slots=True)
class Peer:
    """The process that holds the other end, and the open episode there; 0 and empty where they are not known."""

    pid: int = 0
    comm: str = ""
    id: str = ""
    threads: tuple[Thread, ...] = ()
    """What they do now; none where that is not known."""
