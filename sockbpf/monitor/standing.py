# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How the monitor stands at this moment, as the metrics show it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Watching:
    """How the monitor watches: by hooks or without, what no hook sees, when all sockets were looked at last."""

    version: str
    kernel: str
    mode: str
    missing: Mapping[str, bool]
    """By what is to be seen: whether no hook sees it, so that looks alone find it."""
    looked_ago_s: float | None
    """None before the first look has ended."""
    is_blind: bool
    """Whether what is over now may not be known: a thread hangs, or no look has ended for long."""
    silences: int


@dataclass(frozen=True, slots=True)
class Gauges:
    """The values of this moment; `owed` and `breaker_open` by the name of the destination."""

    open_episodes: int
    journal_depth: int
    oldest_undelivered_seconds: float
    """How long ago the oldest alert that is still owed was made; 0 if none is."""
    owed: Mapping[str, int]
    breaker_open: Mapping[str, bool]
