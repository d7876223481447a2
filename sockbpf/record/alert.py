# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the receiver is told: the alert, and its form as query parameters and as a log line."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.record.event import Direction, Mode, Socket

EXCEEDED, ONGOING, CLEARED = "exceeded", "ongoing", "cleared"
EVENTS = (EXCEEDED, ONGOING, CLEARED)
"""What can be told of an episode, in its order."""

HEARTBEAT = "heartbeat"

OF_ONE_SOCKET = ("local_ip", "remote_ip", "remote_port", "netns", "pid", "comm")
"""The parameters that an alert about several sockets does not have."""


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
    """One thing to tell. Sizes are bytes, `timestamp_ns` Unix time, `duration_ns` since the episode began.

    `id` names the episode or the fold, `seq` counts the alerts of this monitor from 1 without gaps; both stay the
    same on a retry. `pid` is 0 and `comm` empty where the owner is not known. A folded alert has a `count` and its
    `worst`; its `socket`, `size` and `peak` are those of the very worst, the local port is 0 where they have several.
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
    crossings: int = 0
    count: int = 1
    worst: tuple[tuple[Socket, int], ...] = ()


def alert_of(notice: Notice | Folded, *, seq: int, host: str, unix_offset_ns: int) -> Alert:
    """Make the alert of a notice; `unix_offset_ns` is Unix time less CLOCK_MONOTONIC, now."""
    if isinstance(notice, Folded):
        one = alert_of(notice.notice, seq=seq, host=host, unix_offset_ns=unix_offset_ns)
        return replace(one, count=notice.count, worst=notice.worst)
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
        crossings=notice.crossings,
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
    if alert.crossings:
        told["crossings"] = str(alert.crossings)
    if not alert.worst:
        return told
    told = {name: value for name, value in told.items() if name not in OF_ONE_SOCKET}
    return told | {"count": str(alert.count), "worst": ";".join(_remote(*one) for one in alert.worst)}


def _remote(socket: Socket, size: int) -> str:
    ip = f"[{socket.remote_ip}]" if ":" in socket.remote_ip else socket.remote_ip
    return f"{ip}:{socket.remote_port}={size}"


def heartbeat(counters: Mapping[str, float], seq: int, host: str, unix_ns: int) -> dict[str, str]:
    """Return what is told when there is nothing to tell; `seq` is that of the last alert."""
    return {
        "event": HEARTBEAT,
        "timestamp": _seconds(unix_ns),
        "host": host,
        "seq": str(seq),
    } | {name: str(count) for name, count in counters.items()}


def log_line(told: Mapping[str, str]) -> str:
    """Return parameters as one line of `key=value`; a control character in `comm` cannot break the line."""
    return " ".join(f"{key}={_quoted(value)}" for key, value in told.items())


def _quoted(value: str) -> str:
    plain = value.isprintable() and not any(c in value for c in ' "=\\')
    return (
        value if plain and value else '"' + value.encode("unicode_escape").decode().replace('"', '\\"') + '"'
    )
