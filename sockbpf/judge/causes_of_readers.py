# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Why a receive queue or an accept queue is over: the rows of the table, with what shows each and what is said."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sockbpf.judge.evidence import is_stopped, seconds, size
from sockbpf.record.event import Direction
from sockbpf.record.why import Cause, Confidence

if TYPE_CHECKING:
    from sockbpf.judge.symptoms import Found, Row, Symptoms
    from sockbpf.record.closeup import Thread

HIGH, MEDIUM, _ = Confidence

ESTABLISHED, CLOSE_WAIT = 1, 8
LOCKS = ("futex", "mutex", "rwsem", "down_")
"""What is in the names of the kernel's functions in which a thread waits for a lock."""
FULL_PERCENT = 90
"""A receive buffer in which so much is charged has no room for the next datagram."""


def _not_accepted(of: Symptoms) -> Found:
    if of.is_udp or of.now.inode or of.now.state not in {ESTABLISHED, CLOSE_WAIT}:
        return None
    return HIGH, f"nobody has accepted the connection, {size(of.now.recv)} wait in it"


def _reader_stopped(of: Symptoms) -> Found:
    if not is_stopped(of.threads):
        return None
    return HIGH, f"{_who(of)} is stopped{_drops(of)}"


def _peer_closed(of: Symptoms) -> Found:
    if of.is_udp or of.now.state != CLOSE_WAIT:
        return None
    return HIGH, f"the peer has closed the connection, {size(of.now.recv)} of it are not read{_doing(of)}"


def _buffer_full(of: Symptoms) -> Found:
    memory, drops = of.now.memory, of.notice.facts.drops
    if not of.is_udp or not drops or not memory or memory.rmem is None or memory.rcvbuf is None:
        return None
    if memory.rmem * 100 < memory.rcvbuf * FULL_PERCENT:
        return None
    sure = HIGH if of.threads else MEDIUM  # a reader that is stopped would be why
    return sure, f"the receive buffer of {size(memory.rcvbuf)} is full{_drops(of)}{_doing(of)}"


def _reader_slow(of: Symptoms) -> Found:
    read = of.left()
    if of.is_udp or not read:
        return None
    pace = f"{size(read)} in {seconds(of.looked_for_s)}, {size(of.now.recv)} wait"
    return HIGH, f"{_who(of)} reads, but more slowly than it comes: {pace}"


def _reader_blocked(of: Symptoms) -> Found:
    """Tell whether a thread waits for a disk, or all for a lock; of several threads another may be the reader."""
    in_disk_wait = [thread for thread in of.threads if thread.state == "D"]
    if in_disk_wait and (len(of.threads) == 1 or of.still_for_s() is not None):
        where = in_disk_wait[0].where or "the kernel"
        return MEDIUM, f"{_who(of)} waits for a disk or a device in {where}{_drops(of)}"
    if of.threads and all(_waits_for_a_lock(thread) for thread in of.threads):
        return MEDIUM, f"{_who(of)} waits for a lock in {of.threads[0].where}{_drops(of)}"
    return None


def _reader_not_reading(of: Symptoms) -> Found:
    unread_s = of.still_for_s()
    if not of.threads or unread_s is None:
        return None
    return MEDIUM, f"{_who(of)} has read nothing for {seconds(unread_s)}{_doing(of)}"


def _not_accepting(of: Symptoms) -> Found:
    if not of.is_stalled:
        return None
    return HIGH, f"{_who(of)} has accepted nothing for {seconds(of.held_s)}, {of.now.recv} wait{_doing(of)}"


def _accept_queue_full(of: Symptoms) -> Found:
    drops = of.notice.facts.drops
    if of.is_stalled or not drops:
        return None
    waiting = f"{of.now.recv} connections wait, {of.now.send} may"
    return HIGH, f"the accept queue is full: {waiting}, {drops} were dropped{_doing(of)}"


def _who(of: Symptoms) -> str:
    if of.notice.pid:
        return f"{of.notice.comm} (pid {of.notice.pid})"
    return "the listener" if of.direction is Direction.ACCEPT else "the reader"


def _doing(of: Symptoms) -> str:
    """Return what the owner does, where all its threads do it."""
    if not of.threads:
        return ""
    if is_stopped(of.threads):
        return "; it is stopped"
    stopped = sum(is_stopped((thread,)) for thread in of.threads)
    if stopped and of.direction is Direction.ACCEPT:
        return f"; of the {len(of.threads)} threads that share it {stopped} are stopped"
    if any(thread.state == "R" for thread in of.threads):
        return "; it runs"
    one = of.threads[0]
    return f"; it sleeps in {one.where}" if one.where and set(of.threads) == {one} else ""


def _waits_for_a_lock(thread: Thread) -> bool:
    return thread.state == "S" and any(lock in thread.where for lock in LOCKS)


def _drops(of: Symptoms) -> str:
    drops = of.notice.facts.drops
    return f"; {drops} datagrams were dropped" if of.is_udp and drops else ""


OF_BYTES: tuple[Row, ...] = (
    (Cause.NOT_ACCEPTED, _not_accepted),
    (Cause.READER_STOPPED, _reader_stopped),
    (Cause.PEER_CLOSED, _peer_closed),
    (Cause.BUFFER_FULL, _buffer_full),
    (Cause.READER_SLOW, _reader_slow),
    (Cause.READER_BLOCKED, _reader_blocked),
    (Cause.READER_NOT_READING, _reader_not_reading),
)
"""In the order in which they are tried: what is surer comes first."""

OF_CONNECTIONS: tuple[Row, ...] = (
    (Cause.NOT_ACCEPTING, _not_accepting),
    (Cause.ACCEPT_QUEUE_FULL, _accept_queue_full),
)
