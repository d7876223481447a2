# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which end of a connection a cause blames: of the two ends of an incident the one that is to blame leads."""

from __future__ import annotations

from sockbpf.record.why import Cause

OF_THE_OTHER_END = frozenset({Cause.PEER_NOT_READING, Cause.PEER_SLOW, Cause.PEER_NOT_ANSWERING})
"""Causes that say that the other end is to blame."""

OF_THE_READER = frozenset(
    {
        *(Cause.READER_STOPPED, Cause.READER_BLOCKED, Cause.READER_NOT_READING, Cause.READER_SLOW),
        *(Cause.NOT_ACCEPTED, Cause.PEER_CLOSED),
    }
)
"""Causes that say that this end is to blame."""


def rank_of(cause: Cause) -> int:
    """Return how much an end with this cause is to blame: of two ends the one with the higher rank leads."""
    if cause in OF_THE_READER:
        return 3
    return 1 if cause in OF_THE_OTHER_END else 2 if cause.is_known else 0
