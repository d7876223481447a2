"""What the receiver is told: the alert, and its form as query parameters and as a log line."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sockbpf.event import Direction, Mode, Socket

EXCEEDED, ONGOING, CLEARED = "exceeded", "ongoing", "cleared"
EVENTS = (EXCEEDED, ONGOING, CLEARED)


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


@dataclass(frozen=True, slots=True)
class Alert:
    """One thing to tell. Sizes are bytes, `timestamp_ns` Unix time, `duration_ns` since the episode began.

    `id` names the episode, `seq` counts the alerts of this monitor from 1 without gaps; both stay the same on
    a retry. `pid` is 0 and `comm` empty where the owner is not known.
    """

    id: str
    seq: int
    event: str
    timestamp_ns: int
    duration_ns: int
    socket: Socket
    direction: Direction
    size: int
    threshold: int
    peak: int
    mode: Mode
    host: str
    pid: int = 0
    comm: str = ""


def alert_of(notice: Notice, *, seq: int, host: str, unix_offset_ns: int) -> Alert:
    """Make the alert of a notice; `unix_offset_ns` is Unix time less CLOCK_MONOTONIC, now."""
    return Alert(
        id=notice.id,
        seq=seq,
        event=notice.event,
        timestamp_ns=notice.ns + unix_offset_ns,
        duration_ns=notice.ns - notice.since_ns,
        socket=notice.socket,
        direction=notice.direction,
        size=notice.size,
        threshold=notice.threshold,
        peak=notice.peak,
        mode=notice.mode,
        host=host,
        pid=notice.pid,
        comm=notice.comm,
    )


def _seconds(ns: int) -> str:
    """Return nanoseconds as seconds with six decimals, exactly (a float would lose the microseconds)."""
    return f"{ns // 10**9}.{ns % 10**9 // 1000:06d}"


def parameters(alert: Alert) -> dict[str, str]:
    """Return the query parameters of the request, in their documented order."""
    told = {
        "timestamp": _seconds(alert.timestamp_ns),
        "event": alert.event,
        "protocol": alert.socket.protocol.name.lower(),
        "local_ip": alert.socket.local_ip,
        "local_port": str(alert.socket.local_port),
        "remote_ip": alert.socket.remote_ip,
        "remote_port": str(alert.socket.remote_port),
        "type": alert.direction.name,
        "size": str(alert.size),
        "threshold": str(alert.threshold),
        "peak": str(alert.peak),
        "duration": _seconds(alert.duration_ns) if alert.event != EXCEEDED else "0",
        "id": alert.id,
        "seq": str(alert.seq),
        "host": alert.host,
        "netns": str(alert.socket.netns),
        "mode": alert.mode.value,
    }
    if alert.pid:
        told |= {"pid": str(alert.pid), "comm": alert.comm}
    return told


def log_line(alert: Alert) -> str:
    """Return the alert as one line of `key=value`; a control character in `comm` cannot break the line."""
    return " ".join(f"{key}={_quoted(value)}" for key, value in parameters(alert).items())


def _quoted(value: str) -> str:
    plain = value.isprintable() and not any(c in value for c in ' "=\\')
    return (
        value if plain and value else '"' + value.encode("unicode_escape").decode().replace('"', '\\"') + '"'
    )
