# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How an alert gives the values of those fields that are more than one of its numbers or names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockbpf.record.alert import EXCEEDED, Common, seconds_text
from sockbpf.record.cgroup import container_of, shown_container
from sockbpf.record.event import Direction

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.record.alert import Alert
    from sockbpf.record.event import Socket
    from sockbpf.record.peer import Peer
    from sockbpf.record.why import Why


def duration(alert: Alert) -> str:
    notice = alert.notice
    return "0" if notice.event == EXCEEDED else seconds_text(notice.ns - notice.since_ns)


def limit(alert: Alert) -> str | None:
    is_known = alert.notice.facts.limit or alert.notice.direction is Direction.ACCEPT  # which can be 0
    return str(alert.notice.facts.limit) if is_known else None


def fill(alert: Alert) -> str | None:
    fill = alert.notice.facts.fill
    return None if fill is None else str(fill)


def worst(alert: Alert) -> str | None:
    """Return the worst sockets, each by that end of it in which they can differ; of a rate by the local end."""
    if alert.notice.droppers:
        return ";".join(f"{_end(socket, is_local=True)}={drops}" for socket, drops in alert.notice.droppers)
    is_local = alert.common is Common.REMOTE_SERVICE
    return ";".join(f"{_end(socket, is_local=is_local)}={size}" for socket, size in alert.worst) or None


def _end(socket: Socket, *, is_local: bool) -> str:
    ip, port = (socket.local_ip, socket.local_port) if is_local else (socket.remote_ip, socket.remote_port)
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def of_socket(value: Callable[[Socket], str]) -> Callable[[Alert], str | None]:
    """Return what gives a value of the alert's socket; None where the alert is about none."""

    def of(alert: Alert) -> str | None:
        return value(alert.notice.socket) if alert.notice.socket else None

    return of


def why(value: Callable[[Why], str | None]) -> Callable[[Alert], str | None]:
    """Return what gives a part of why; None where nobody has asked."""

    def of(alert: Alert) -> str | None:
        return value(alert.notice.why) if alert.notice.why else None

    return of


def peer(value: Callable[[Peer], str]) -> Callable[[Alert], str | None]:
    """Return what gives a part of the other end; None where it is not known."""

    def of(alert: Alert) -> str | None:
        return (value(alert.notice.peer) or None) if alert.notice.peer else None

    return of


def container(alert: Alert) -> str | None:
    return shown_container(container_of(alert.notice.whose.home)) or None


def protocol(alert: Alert) -> str | None:
    notice = alert.notice
    protocol = (
        notice.socket.protocol if notice.socket else notice.counter.protocol if notice.counter else None
    )
    return protocol.name.lower() if protocol else None


def netns(alert: Alert) -> str | None:
    place = alert.notice.socket or alert.notice.counter
    return str(place.netns) if place else None
