# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""From symptoms to a cause: a table, of which the first row that fits is the answer. Pure: no I/O, no clock.

A row tells a cause only where the facts show it; where none fits the cause is unknown, with the facts as evidence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockbpf.judge import causes_of_readers, causes_of_senders
from sockbpf.judge.evidence import facts_of
from sockbpf.record.event import Direction
from sockbpf.record.why import Cause, Why

if TYPE_CHECKING:
    from sockbpf.judge.symptoms import Row, Symptoms

ROWS: dict[Direction, tuple[Row, ...]] = {
    Direction.SEND: causes_of_senders.ROWS,
    Direction.RECV: causes_of_readers.OF_BYTES,
    Direction.ACCEPT: causes_of_readers.OF_CONNECTIONS,
}


def judged(symptoms: Symptoms) -> Why:
    """Return the cause, with its sentence and the facts."""
    facts = facts_of(symptoms.direction, symptoms.now, symptoms.threads)
    if symptoms.is_there:
        for cause, fits in ROWS.get(symptoms.direction, ()):
            if found := fits(symptoms):
                confidence, reason = found
                return Why(cause, confidence, reason, facts)
    return Why(Cause.UNKNOWN, evidence=facts)
