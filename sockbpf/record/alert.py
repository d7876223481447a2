# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The judge's notice, the alert that is made of it, the heartbeat; and the fields of an alert as a log line."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import TYPE_CHECKING

from sockbpf.record.facts import UNKNOWN, Condition, Facts, Severity
from sockbpf.record.rule import NO_RULE, Applied
from sockbpf.record.socket_row import NOBODY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.record.closeup import Closeup
    from sockbpf.record.event import Direction, Mode, Socket
    from sockbpf.record.peer import Peer
    from sockbpf.record.rate import Droppers, HostCounter, Rate
    from sockbpf.record.socket_row import Whose
    from sockbpf.record.why import Why

EXCEEDED, ONGOING, CLEARED = "exceeded", "ongoing", "cleared"
EVENTS = (EXCEEDED, ONGOING, CLEARED)
"""The events of an episode, in their order."""

HEARTBEAT, STARTED, STOPPED = "heartbeat", "started", "stopped"
OF_RUN = (STARTED, STOPPED)
"""The beginning of a run of the monitor, after its first look, and its end by a signal."""
OF_MONITOR = (HEARTBEAT, *OF_RUN)
"""The events that are about no episode."""


class Common(Enum):
    """What the sockets of a folded alert have in common."""

    LOCAL_SERVICE = "local-service"
    """Protocol and local port."""
    REMOTE_SERVICE = "remote-service"
    """Protocol, remote address and port."""
    PROCESS = "process"
    USER = "user"
    RULE = "rule"
    """The rule that applied."""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something worth an alert: `event` at `ns`, of an episode as it stood then."""

    event: str
    id: str
    ns: int
    since_ns: int
    socket: Socket | None
    """None of a rate, which is of a counter."""
    direction: Direction
    mode: Mode
    size: int
    peak: int
    threshold: int
    pid: int
    comm: str
    crossings: int = 0
    """Of a flapping queue: how often it crossed since the alert before."""
    condition: Condition = Condition.SIZE
    severity: Severity = Severity.WARNING
    facts: Facts = UNKNOWN
    crossing: Closeup | None = None
    """What else was read at the crossing, where the notice is of that instant and it is known."""
    applied: Applied = NO_RULE
    """What of the rule that applied when the episode began."""
    counter: HostCounter | None = None
    """Of a rate; `size`, `peak` and `threshold` are in the unit of `rate`."""
    rate: Rate | None = None
    """The threshold of a rate, with its unit."""
    droppers: Droppers = ()
    """Of a rate: the sockets that have dropped datagrams since the episode began, the worst first."""
    whose: Whose = NOBODY
    """What is known of the owner beyond its process."""
    peer: Peer | None = None
    """The other end of the connection, where it is on this host."""
    why: Why | None = None
    """Why the queue is over; None of a rate, and where nobody has asked."""


def socket_of(notice: Notice) -> Socket:
    """Return the socket of a notice that is about one; raise ValueError for that of a rate."""
    if notice.socket is None:
        raise ValueError(f"the notice {notice.id} is about no socket")
    return notice.socket


@dataclass(frozen=True, slots=True)
class Folded:
    """Several notices of one event, of sockets with something in common, as one: what becomes a folded alert."""

    notice: Notice
    """The notice of the largest queue, but with the storm's `id` and `since_ns`; its `ns` is that of the first notice
    on `exceeded`, else that of the last notice."""
    count: int
    """How many notices it stands for, each about another queue."""
    worst: tuple[tuple[Socket, int], ...]
    """The sockets of the largest queues, each with its size in bytes, largest first."""
    common: Common = Common.LOCAL_SERVICE
    shared: frozenset[str] = frozenset()
    """The names of those fields of one socket, or of its process, that are the same for all."""
    members: tuple[Notice, ...] = ()
    """Of `exceeded`: what it stands for, as far as that is kept for a later run."""


@dataclass(frozen=True, slots=True)
class Alert:
    """A notice with what else a request needs; the fields of the request are those of record/fields.py.

    `seq` counts the alerts of this monitor without gaps; it stays the same on a retry. `count` and what follows are
    those of a `Folded`, if `notice` is its notice.
    """

    notice: Notice
    seq: int
    host: str
    unix_offset_ns: int
    """Unix time less the clock of the notice, CLOCK_MONOTONIC."""
    run: str = ""
    """The name of the monitor's run."""
    count: int = 1
    worst: tuple[tuple[Socket, int], ...] = ()
    common: Common | None = None
    shared: frozenset[str] = frozenset()


def alert_of(notice: Notice | Folded, *, seq: int, host: str, unix_offset_ns: int, run: str = "") -> Alert:
    """Make the alert of a notice."""
    if isinstance(notice, Folded):
        one = notice.notice
        folded = notice.count, notice.worst, notice.common, notice.shared
        return Alert(one, seq, host, unix_offset_ns, run, *folded)
    return Alert(notice, seq, host, unix_offset_ns, run)


def seconds_text(ns: int) -> str:
    """Return nanoseconds as seconds with six decimals, exactly (a float would lose the microseconds)."""
    return f"{ns // 10**9}.{ns % 10**9 // 1000:06d}"


def of_monitor(
    event: str, about: Mapping[str, object], seq: int, *, host: str, run: str, unix_ns: int
) -> dict[str, str]:
    """Return the fields of an event that is about the monitor itself, with what is to be said `about` it.

    The `seq` of a heartbeat is that of the last alert; the others take the next one, and have the run's name as `id`.
    """
    return {
        "event": event,
        "timestamp": seconds_text(unix_ns),
        "host": host,
        "seq": str(seq),
        "run": run,
        **({"id": run} if event in OF_RUN else {}),
    } | {name: str(value) for name, value in about.items()}


def log_line(fields: Mapping[str, str]) -> str:
    """Return the fields as one line of `key=value`; a control character in `comm` cannot break the line."""
    return " ".join(f"{key}={_quoted(value)}" for key, value in fields.items())


def _quoted(value: str) -> str:
    plain = value.isprintable() and not any(c in value for c in ' "=\\')
    return (
        value if plain and value else '"' + value.encode("unicode_escape").decode().replace('"', '\\"') + '"'
    )
