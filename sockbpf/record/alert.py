# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is told: the notice of the judge, the alert made of it, the heartbeat; and any of them as a log line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.record.event import Direction, Mode, Socket

EXCEEDED, ONGOING, CLEARED = "exceeded", "ongoing", "cleared"
EVENTS = (EXCEEDED, ONGOING, CLEARED)
"""What can be told of an episode, in its order."""

HEARTBEAT = "heartbeat"


@dataclass(frozen=True, slots=True)
class Notice:
    """Something worth an alert: `event` at `ns`, of an episode as it stood then."""

    event: str
    id: str
    ns: int
    since_ns: int
    socket: Socket
    direction: Direction
    mode: Mode
    size: int
    peak: int
    threshold: int
    pid: int
    comm: str
    crossings: int = 0
    """Of a flapping queue: how often it crossed since it was last told of."""


@dataclass(frozen=True, slots=True)
class Folded:
    """Several notices of one event and one local service, told as one."""

    notice: Notice
    """That of the largest size, but `id` and `since_ns` are the fold's; `ns` is the first crossing's on `exceeded`,
    the last instant that was noticed otherwise."""
    count: int
    """How many notices it stands for, each of another socket queue."""
    worst: tuple[tuple[Socket, int], ...]
    """Those of the largest sizes, in bytes, largest first."""


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to tell: a notice with what makes a request of it; its fields are those of record/fields.py.

    `seq` counts the alerts of this monitor from 1 without gaps; it stays the same on a retry. `count` and `worst` are
    those of a fold, see `Folded`, whose notice it is then.
    """

    notice: Notice
    seq: int
    host: str
    unix_offset_ns: int
    """Unix time less the clock of the notice, CLOCK_MONOTONIC."""
    count: int = 1
    worst: tuple[tuple[Socket, int], ...] = ()


def alert_of(notice: Notice | Folded, *, seq: int, host: str, unix_offset_ns: int) -> Alert:
    """Make the alert of a notice."""
    if isinstance(notice, Folded):
        return Alert(notice.notice, seq, host, unix_offset_ns, notice.count, notice.worst)
    return Alert(notice, seq, host, unix_offset_ns)


def seconds_text(ns: int) -> str:
    """Return nanoseconds as seconds with six decimals, exactly (a float would lose the microseconds)."""
    return f"{ns // 10**9}.{ns % 10**9 // 1000:06d}"


def heartbeat(counters: Mapping[str, float], seq: int, host: str, unix_ns: int) -> dict[str, str]:
    """Return what is told when there is nothing to tell; `seq` is that of the last alert."""
    return {
        "event": HEARTBEAT,
        "timestamp": seconds_text(unix_ns),
        "host": host,
        "seq": str(seq),
    } | {name: str(count) for name, count in counters.items()}


def log_line(fields: Mapping[str, str]) -> str:
    """Return parameters as one line of `key=value`; a control character in `comm` cannot break the line."""
    return " ".join(f"{key}={_quoted(value)}" for key, value in fields.items())


def _quoted(value: str) -> str:
    plain = value.isprintable() and not any(c in value for c in ' "=\\')
    return (
        value if plain and value else '"' + value.encode("unicode_escape").decode().replace('"', '\\"') + '"'
    )
