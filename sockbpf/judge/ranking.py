# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Sockets at one moment: which queues are over, which sockets were asked for, which come first. Pure: no I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockbpf.judge.rules import asks_who, fits_cgroup, fits_process, fits_socket
from sockbpf.record.event import Direction
from sockbpf.record.facts import Condition
from sockbpf.record.rule import ACCEPT
from sockbpf.record.socket_row import QueueNow

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sockbpf.judge.levels import Levels
    from sockbpf.record.facts import Facts
    from sockbpf.record.rule import Match
    from sockbpf.record.socket_row import Asked, SocketRow, Whose

    Names = Callable[[int], Sequence[str]]
    """Returns the names of a network namespace."""

    Rank = tuple[bool, float, int, int, str, int, str, int]


def queue_now(size: int, facts: Facts, levels: Levels, unsure: int = 0) -> QueueNow:
    """Return a queue of bytes as these levels judge it; up to `unsure` bytes of it may have been read already."""
    if levels.applied.ignores:
        return QueueNow(size, facts)
    is_over = levels.is_over(size - unsure, facts)
    return QueueNow(size, facts, levels.in_bytes(facts), levels.condition, is_over)


def accept_queue_now(waiting: int, facts: Facts, levels: Levels | None) -> QueueNow:
    """Return an accept queue as these levels judge it; None: there are no alerts about it."""
    if levels is None:
        return QueueNow(waiting, facts)
    return QueueNow(waiting, facts, levels.threshold, Condition.ACCEPT, levels.is_over(waiting, facts))


def is_over(row: SocketRow) -> bool:
    """Tell whether one of the socket's queues is over."""
    return any(queue.is_over for queue in row.queues.values())


def is_empty(row: SocketRow) -> bool:
    """Tell whether nothing stands in any of the socket's queues."""
    return not any(queue.size for queue in row.queues.values())


def nearness(queue: QueueNow) -> float:
    """Return how near a queue is to being over: above 1 it is over; 0 where no threshold applies."""
    if queue.threshold is None or not queue.size:
        return 0.0
    held = queue.facts.charged if queue.condition is Condition.FILL else queue.size
    return held / max(queue.threshold, 1)


def rank(row: SocketRow) -> Rank:
    """Return the key by which rows are sorted, worst first.

    First what is over, by how far; then the fullest, by percent of the buffer and then by bytes. Of two that are
    alike the order stays the same from look to look.
    """
    queues = row.queues.values()
    size = sum(queue.size for queue in queues)
    over = [nearness(queue) for queue in queues if queue.is_over]
    # The kernel charges a buffer for more than what is in the queue: an empty queue is never full.
    fullest = max((queue.facts.fill or 0 for queue in queues if queue.size), default=0)
    socket = row.socket
    ends = (socket.local_ip, socket.local_port, socket.remote_ip, socket.remote_port)
    return (not over, -max(over, default=fullest), -size, socket.protocol, *ends)


def asks_whose(asked: Asked) -> bool:
    """Tell whether a condition asks for the process or the cgroup, which take a search through /proc."""
    return any(map(asks_who, asked.matches))


def fits(asked: Asked, row: SocketRow, names: Names) -> bool:
    """Tell whether a socket was asked for, by all conditions but those about whose it is."""
    if asked.states and row.state not in asked.states:
        return False
    return any(fits_socket(match, row.socket, _kind(match, row), names) for match in asked.matches)


def fits_whose(asked: Asked, row: SocketRow, whose: Whose, names: Names) -> bool:
    """Tell whether a socket was asked for, by all conditions; `whose` it is is known."""
    if asked.states and row.state not in asked.states:
        return False
    return any(
        fits_socket(match, row.socket, _kind(match, row), names)
        and fits_process(match, whose.comm)
        and fits_cgroup(match, whose.cgroup, whose.home)
        for match in asked.matches
    )


def _kind(match: Match, row: SocketRow) -> str:
    """Return the type that the conditions are compared with: of those the socket has, the one that is asked for.

    A type that is asked for is one of a queue that is not empty.
    """
    if Direction.ACCEPT in row.queues:
        return ACCEPT
    held = [direction.name for direction, queue in row.queues.items() if queue.size]
    return next((kind for kind in held if kind in match.types), "")
