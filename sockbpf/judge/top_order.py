# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The order of the rows of `sockbpf top` by a column, and their groups. Pure: no clock."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sockbpf.judge.tracks import size_of, steady
from sockbpf.record.cgroup import container_of, shown_container, unit_of
from sockbpf.record.event import Direction
from sockbpf.record.facts import STATES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sockbpf.judge.tracks import Track
    from sockbpf.record.event import Socket
    from sockbpf.record.socket_row import SocketRow

WORST = "worst"
NUMBERS = ("recv", "send", "fill", "still", "drops")
"""The greatest first."""
TEXTS: Mapping[str, Callable[[SocketRow], tuple[str, int]]] = {
    "proto": lambda row: (row.socket.protocol.name, 0),
    "state": lambda row: (STATES.get(row.state, ""), 0),
    "local": lambda row: (row.socket.local_ip, row.socket.local_port),
    "remote": lambda row: (row.socket.remote_ip, row.socket.remote_port),
    "process": lambda row: (row.whose.comm, row.whose.pid),
    "unit": lambda row: (unit_of(row.whose.home), 0),
    "container": lambda row: (shown_container(container_of(row.whose.home)), 0),
    "user": lambda row: (row.whose.user, row.socket.uid),
    "netns": lambda row: (row.whose.netns_name or str(row.socket.netns), row.socket.netns),
}
COLUMNS = (WORST, *NUMBERS, *TEXTS)
"""What rows can be sorted by."""
GROUPS = ("nothing", "process", "unit", "service", "peer")
OF_OWNERS = {"process", "unit", "container", "user", "netns"}
"""Columns and groups that ask whose a socket is."""


def _known_first(text: tuple[str, int]) -> tuple[bool, str, int]:
    return (not text[0], *text)


class Order:
    """The order by one column. A number that changes little moves no row."""

    def __init__(self, column: str = WORST) -> None:
        self.column = column
        self._kept: dict[Socket, float] = {}

    def sorted(self, tracks: Sequence[Track], now_s: float) -> list[Track]:
        """Return the tracks by the column; of equal ones the order stays."""
        if self.column == WORST:
            return list(tracks)
        if text := TEXTS.get(self.column):
            return sorted(tracks, key=lambda track: _known_first(text(track.row)))
        if self.column == "still":  # it grows evenly: no row passes another unless something leaves a queue
            return sorted(tracks, key=lambda track: -(track.still_s(now_s) or 0.0))
        self._kept = {
            each.row.socket: steady(self._kept.get(each.row.socket, 0.0), _number(each.row, self.column))
            for each in tracks
        }
        return sorted(tracks, key=lambda track: -self._kept[track.row.socket])


@dataclass(slots=True)
class Group:
    """The sockets that have something in common, added up."""

    name: str
    sockets: int = 0
    over: int = 0
    recv: int = 0
    send: int = 0
    waiting: int = 0
    """Connections that wait to be accepted."""


class Groups:
    """The groups by one thing, in an order in which little changes move no group."""

    def __init__(self, by: str = GROUPS[0]) -> None:
        self.by = by
        self._kept: dict[str, float] = {}

    def of(self, tracks: Iterable[Track]) -> list[Group]:
        """Return the groups: those with most sockets over first, then those that hold most. What ended is in none."""
        found: dict[str, Group] = {}
        for track in tracks:
            if not track.has_ended:
                name = group_name(track.row, self.by)
                _add(found.setdefault(name, Group(name)), track)
        self._kept = {
            name: steady(self._kept.get(name, 0.0), each.recv + each.send) for name, each in found.items()
        }
        return sorted(found.values(), key=lambda group: (-group.over, -self._kept[group.name], group.name))


def group_name(row: SocketRow, by: str) -> str:
    """Return the name of the group that a socket is in; `?` where it is not known."""
    if by == "service":
        return f"{row.socket.protocol.name.lower()} {row.socket.local_port}"
    if by == "peer":
        return row.socket.remote_ip
    return TEXTS[by](row)[0] or "?"


def _add(group: Group, track: Track) -> None:
    group.sockets += 1
    group.over += track.is_over
    group.recv += _size(track.row, Direction.RECV)
    group.send += _size(track.row, Direction.SEND)
    group.waiting += _size(track.row, Direction.ACCEPT)


def _number(row: SocketRow, column: str) -> float:
    if column == "fill":
        return max((queue.facts.fill or 0 for queue in row.queues.values() if queue.size), default=0)
    if column == "drops":
        return row.drops or 0
    if Direction.ACCEPT in row.queues:
        return size_of(row) if column == "recv" else 0
    return _size(row, Direction.RECV if column == "recv" else Direction.SEND)


def _size(row: SocketRow, direction: Direction) -> int:
    queue = row.queues.get(direction)
    return queue.size if queue else 0
