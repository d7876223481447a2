# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The table of what is shown of a socket: by the names of an alert's fields for programs, by columns for people."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from sockbpf.record.cgroup import container_of, shown_container, unit_of
from sockbpf.record.event import NO_UID, Direction
from sockbpf.record.facts import STATES
from sockbpf.record.text import printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sockbpf.record.socket_row import QueueNow, SocketRow

    Value = str | int | None

# Few cgroups have many sockets.
_unit_of, _container_of = lru_cache(1024)(unit_of), lru_cache(1024)(container_of)
UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
RECV, SEND, ACCEPT = Direction.RECV, Direction.SEND, Direction.ACCEPT


def _queue(
    direction: Direction, value: Callable[[QueueNow], int | None]
) -> Callable[[SocketRow], int | None]:
    def of(row: SocketRow) -> int | None:
        queue = row.queues.get(direction)
        return None if queue is None else value(queue)

    return of


def _limit(queue: QueueNow) -> int | None:
    return queue.facts.limit or None


def _backlog(queue: QueueNow) -> int:
    return queue.facts.limit  # which can be 0


def _queue_fields(direction: Direction) -> Iterator[tuple[str, Callable[[SocketRow], Value]]]:
    name = direction.name.lower()
    yield name, _queue(direction, lambda queue: queue.size)
    yield f"{name}_limit", _queue(direction, _backlog if direction is ACCEPT else _limit)
    yield f"{name}_fill", _queue(direction, lambda queue: queue.facts.fill)
    yield f"{name}_threshold", _queue(direction, lambda queue: queue.threshold)
    if direction is not ACCEPT:
        yield f"{name}_age_ms", lambda row: row.age_ms.get(direction)
    yield f"{name}_cause", lambda row: row.whys[direction].cause.value if direction in row.whys else None
    yield f"{name}_reason", lambda row: row.whys[direction].reason or None if direction in row.whys else None


def _over(row: SocketRow) -> str | None:
    return " ".join(direction.name for direction, queue in row.queues.items() if queue.is_over) or None


def _container(row: SocketRow) -> str | None:
    return shown_container(_container_of(row.whose.home)) or None


FIELDS: tuple[tuple[str, Callable[[SocketRow], Value]], ...] = (
    ("over", _over),
    ("protocol", lambda row: row.socket.protocol.name.lower()),
    ("state", lambda row: STATES.get(row.state)),
    ("local_ip", lambda row: row.socket.local_ip),
    ("local_port", lambda row: row.socket.local_port),
    ("remote_ip", lambda row: row.socket.remote_ip),
    ("remote_port", lambda row: row.socket.remote_port),
    *_queue_fields(RECV),
    *_queue_fields(SEND),
    *_queue_fields(ACCEPT),
    ("drops", lambda row: row.drops),
    ("pid", lambda row: row.whose.pid or None),
    ("comm", lambda row: row.whose.comm or None),
    ("user", lambda row: row.whose.user or None),
    ("uid", lambda row: None if row.socket.uid == NO_UID else row.socket.uid),
    ("unit", lambda row: _unit_of(row.whose.home) or None),
    ("container", _container),
    ("cgroup", lambda row: row.whose.cgroup or None),
    ("netns", lambda row: row.socket.netns),
    ("netns_name", lambda row: row.whose.netns_name or None),
    ("inode", lambda row: row.socket.inode or None),
)
"""What programs get: a name, and its value; None where that is not known or does not apply.

What is an alert's field too has the name it has there; the figures of a queue begin with the queue's name.
"""


def fields(row: SocketRow) -> dict[str, str | int]:
    """Return what is known of a socket, by name."""
    return {name: value for name, of in FIELDS if (value := of(row)) is not None}


@dataclass(frozen=True, slots=True)
class Column:
    """One column of the table for people; all of its text is printable."""

    heading: str
    of: Callable[[SocketRow], str]
    keep: int
    """The lower, the longer the column stays as the table gets narrower."""
    is_number: bool = False
    may_be_cut: bool = False
    """Whether its text may be cut, with `…`, if even the last columns do not fit."""
    keeps_end: bool = False
    """Whether what is cut is its beginning."""


def _number(value: Callable[[SocketRow], int | None]) -> Callable[[SocketRow], str]:
    def of(row: SocketRow) -> str:
        found = value(row)
        return "" if found is None else str(found)

    return of


def end_text(ip: str, port: int) -> str:
    """Return one end of a socket; port 0 is `*`."""
    return f"[{ip}]:{port or '*'}" if ":" in ip else f"{ip}:{port or '*'}"


def _remote(row: SocketRow) -> str:
    socket = row.socket
    if not socket.remote_port and socket.remote_ip in {"0.0.0.0", "::"}:  # noqa: S104  it is connected to nobody
        return "*"
    return end_text(socket.remote_ip, socket.remote_port)


def accept_text(row: SocketRow) -> str:
    """Return how many connections wait, and the backlog; empty if the socket is no listener."""
    queue = row.queues.get(ACCEPT)
    return f"{queue.size}/{queue.facts.limit}" if queue else ""


def fill_text(row: SocketRow) -> str:
    """Return how full the fuller queue of a socket is; empty where that is not known."""
    fills = [queue.facts.fill for queue in row.queues.values() if queue.facts.fill is not None and queue.size]
    return f"{max(fills)}%" if fills else ""


def process_text(row: SocketRow) -> str:
    """Return the name and the number of the process, printable; empty where that is not known."""
    return f"{printable(row.whose.comm)}/{row.whose.pid}" if row.whose.pid else ""


def short_span(seconds: float) -> str:
    """Return a time span in few characters: 45s, 12m, 5h, 2d."""
    unit, size = next((each for each in UNITS if seconds >= 2 * each[1]), UNITS[-1])
    return f"{int(seconds / size)}{unit}"


def _age(row: SocketRow) -> str:
    return short_span(max(row.age_ms.values()) / 1000) if row.age_ms else ""


def _cause(row: SocketRow) -> str:
    return " ".join(dict.fromkeys(why.cause.value for why in row.whys.values()))


def _user(row: SocketRow) -> str:
    uid = row.socket.uid
    return printable(row.whose.user) or ("" if uid == NO_UID else str(uid))


def _drops(row: SocketRow) -> str:
    return str(row.drops) if row.drops else ""


_AN_END = {"may_be_cut": True, "keeps_end": True}
"""Of an address and a port it is the port that tells most."""
COLUMNS = (
    Column("proto", lambda row: row.socket.protocol.name.lower(), 3),
    Column("state", lambda row: STATES.get(row.state, ""), 7),
    Column("over", lambda row: _over(row) or "", 5),
    Column("cause", _cause, 3, may_be_cut=True),
    Column("age", _age, 6, is_number=True),
    Column("recv", _number(_queue(RECV, lambda queue: queue.size)), 0, is_number=True),
    Column("send", _number(_queue(SEND, lambda queue: queue.size)), 0, is_number=True),
    Column("accept", accept_text, 0, is_number=True),
    Column("fill", fill_text, 4, is_number=True),
    Column("drops", _drops, 8, is_number=True),
    Column("local", lambda row: end_text(row.socket.local_ip, row.socket.local_port), 1, **_AN_END),
    Column("remote", _remote, 2, **_AN_END),
    Column("process", process_text, 3, may_be_cut=True),
    Column("unit", lambda row: printable(_unit_of(row.whose.home)), 9, may_be_cut=True),
    Column("container", lambda row: printable(_container(row) or ""), 11, may_be_cut=True),
    Column("user", _user, 10),
    Column("netns", lambda row: printable(row.whose.netns_name) or str(row.socket.netns), 12),
    Column("recv limit", _number(_queue(RECV, _limit)), 13, is_number=True),
    Column("send limit", _number(_queue(SEND, _limit)), 13, is_number=True),
    Column("cgroup", lambda row: printable(row.whose.cgroup), 14, may_be_cut=True),
)
"""In their order."""
