# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What Splunk's HTTP event collector says in its answers, by its table of codes. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

SUCCESS = 0
EVENT_CODES = frozenset({6, 12, 13, 15})
"""The codes of what is wrong with one event: its format, no `event`, an empty one, its indexed fields.

Others speak of the request: of its token, its channel, or its index, which is the same for all events.
"""


@dataclass(frozen=True, slots=True)
class Reply:
    """The body of an answer; each is None, or empty, where it does not say."""

    code: int | None = None
    text: str = ""
    invalid: int | None = None
    """The place of the first event that is refused, from 0: with it the collector has stopped reading."""
    ack: int | None = None
    """What to ask by whether the events are indexed."""

    @classmethod
    def of(cls, body: bytes | None) -> Reply:
        said = _object(body)
        text = said.get("text")
        return cls(
            code=_whole(said.get("code")),
            text=text if isinstance(text, str) else "",
            invalid=_whole(said.get("invalid-event-number")),
            ack=_whole(said.get("ackId")),
        )


def is_indexed(body: bytes | None, ack: int) -> bool:
    """Tell whether an answer says that the events of this number are indexed; it says so once."""
    acks = _object(body).get("acks")
    return isinstance(acks, dict) and acks.get(str(ack)) is True


def _object(body: bytes | None) -> dict[str, Any]:
    try:
        said = json.loads(body or b"")
    except (ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _whole(value: object) -> int | None:
    return value if type(value) is int else None
