"""What a receiver was told, and what the log says."""

from __future__ import annotations

from tests.live.receiver import Told

Word = tuple[str, str, int]
"""event, id, seq: what a receiver tells duplicates by."""


def word(told: Told) -> Word:
    return told["event"], told["id"], int(told["seq"])
