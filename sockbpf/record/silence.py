# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A silence: of which queues nothing is told until when. A record alone, no logic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sockbpf.record.rule import Match


@dataclass(frozen=True, slots=True)
class Silence:
    """Times are Unix time, seconds."""

    id: str
    conditions: dict[str, list[str]]
    """As they were typed, by the keys of a rule's `match`."""
    match: Match
    """The same as a record."""
    made_s: float
    until_s: float
    reason: str = ""
