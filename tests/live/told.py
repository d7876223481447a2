# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a receiver was told, and what the log says."""

from __future__ import annotations

from tests.live.receiver import Told

Word = tuple[str, str, int]
"""event, id, seq: what a receiver tells duplicates by."""


def word(told: Told) -> Word:
    return told["event"], told["id"], int(told["seq"])
