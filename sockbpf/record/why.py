# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Why a queue is over: a word for the cause, how sure that is, one sentence, and the facts it rests on."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Cause(Enum):
    """The causes; judge/causes.py has the symptoms of each."""

    PEER_NOT_READING = "peer-not-reading"
    PEER_SLOW = "peer-slow"
    NO_ACKNOWLEDGEMENT = "no-acknowledgement"
    PATH_LIMITED = "path-limited"
    SEND_BUFFER_SMALL = "send-buffer-small"
    DEVICE_QUEUE = "device-queue"
    PEER_NOT_ANSWERING = "peer-not-answering"
    READER_STOPPED = "reader-stopped"
    READER_BLOCKED = "reader-blocked"
    READER_NOT_READING = "reader-not-reading"
    READER_SLOW = "reader-slow"
    NOT_ACCEPTED = "not-accepted"
    PEER_CLOSED = "peer-closed"
    ORPHANED = "orphaned"
    BUFFER_FULL = "buffer-full"
    ACCEPT_QUEUE_FULL = "accept-queue-full"
    NOT_ACCEPTING = "not-accepting"
    UNKNOWN = "unknown"

    @property
    def is_known(self) -> bool:
        """Tell whether it is a cause."""
        return self is not Cause.UNKNOWN


class Confidence(Enum):
    """How sure a cause is."""

    HIGH = "high"
    MEDIUM = "medium"
    LOW = "low"


@dataclass(frozen=True, slots=True)
class Why:
    """A cause, with what is said of it; of UNKNOWN there is no confidence and no sentence."""

    cause: Cause
    confidence: Confidence | None = None
    reason: str = ""
    evidence: tuple[tuple[str, int | str], ...] = ()
