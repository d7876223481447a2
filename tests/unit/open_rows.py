# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Rows of open episodes, as the database returns them."""

from __future__ import annotations

from typing import Any

COLUMNS = [
    "unit",
    "container",
    "name",
    "comm",
    "netns",
    "cause",
    "peer_id",
    "peer_pid",
    "peer_comm",
    "pid",
    "severity",
    "user",
    "condition",
    "peak",
    "limit",
    "fill",
    "run",
    "confidence",
    "reason",
    "drops",
    "count",
    "before",
]
"""Those that are empty unless a test says what they have."""


def open_row(number: int, **has: Any) -> dict[str, Any]:
    """Return a row of an episode of TCP, another for each number."""
    times = {"start": float(number), "last": 100.0 + number, "heard": 100.0 + number}
    return dict.fromkeys(COLUMNS) | times | {"protocol": "tcp", "id": f"{number:x}"} | has
