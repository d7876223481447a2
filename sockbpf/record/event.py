# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The events of the kernel side: one flat record for each, and how its bytes are read.

The bytes are `struct queue_event` of bpf/event.h; tests/abi checks this file against it field by field.
"""

from __future__ import annotations

import socket
import struct
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from sys import intern
from typing import TYPE_CHECKING

from sockbpf.record.facts import UNKNOWN, Condition, Facts

if TYPE_CHECKING:
    from sockbpf.record.closeup import Closeup

NO_UID = 0xFFFFFFFF
"""An id that no user can have: the user is not known."""


class What(IntEnum):
    """What happened to the episode; `enum what` of bpf/event.h."""

    OVER = 1
    """The queue has exceeded the threshold: the episode began."""
    BACK = 2
    """The queue is at or under the clear level, or the socket is gone: the episode ended."""
    UNTOLD = 3
    """As OVER, but only in the table of open episodes, without an event: its user had too many in that second."""
    UNSURE = 4
    """The queue has exceeded the least threshold it may have; which one it has depends on whose the socket is."""
    UNSURE_BACK = 5
    """Of an UNSURE: the queue is back, or is known not to be over its own threshold."""


class Direction(IntEnum):
    """Which queue of the socket; `enum direction` of bpf/event.h."""

    SEND = 0
    RECV = 1
    ACCEPT = 2
    """A listener's connections that wait to be accepted: no bytes, and no hook reports them."""
    RATE = 3
    """No queue: how fast a counter of a network namespace rises. No hook reports it."""


OF_BYTES = (Direction.SEND, Direction.RECV)
"""The queues of bytes, which every socket but a listener has."""


class Protocol(IntEnum):
    """The IANA protocol number, as the kernel's sk_protocol."""

    TCP = 6
    UDP = 17


class Mode(Enum):
    """How a queue was seen."""

    EBPF = "ebpf"
    POLL = "poll"


@dataclass(frozen=True, slots=True)
class Socket:
    """What identifies a socket: plain-text addresses as `ss -n` shows them, ports in host order.

    `inode` is the socket's inode number, 0 when no file holds it; `netns` the inode number of its
    network namespace; `uid` the user who made it, NO_UID where that is not known; `cgroup` the id of its cgroup, 0
    where that is not known.
    """

    protocol: Protocol
    local_ip: str
    local_port: int
    remote_ip: str
    remote_port: int
    netns: int
    inode: int
    uid: int = NO_UID
    cgroup: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Event:
    """A change of state of one socket queue. Times are CLOCK_MONOTONIC nanoseconds, sizes bytes.

    `address` is the kernel's address of the socket (0 when a sweep saw it); with `direction` and `since_ns` it
    names the episode. `since_size` is the size at the crossing, `size` at `ns`. `pid` is 0 where the owner
    is not certain.
    """

    what: What
    mode: Mode
    direction: Direction
    socket: Socket
    address: int
    ns: int
    since_ns: int
    size: int
    since_size: int
    peak: int
    threshold: int
    pid: int
    comm: str
    condition: Condition = Condition.SIZE
    facts: Facts = UNKNOWN
    """As they were at `ns`."""
    rules: int = 0
    """Which rules the kernel side judged by; 0: none."""
    rule: int = 0
    """Which of them applied, from 1; 0: none."""
    crossing: Closeup | None = None
    """Of a TCP sender, what else was read as its queue exceeded the threshold."""


def account_of(uid: int) -> int:
    """Return the account that a user's sockets are counted for: all ids of a user namespace's range share one."""
    return uid >> 16 << 16 or uid


FIELDS = (
    ("ns", "Q"),
    ("since_ns", "Q"),
    ("address", "Q"),
    ("inode", "Q"),
    ("cgroup", "Q"),
    ("size", "I"),
    ("since_size", "I"),
    ("peak", "I"),
    ("threshold", "I"),
    ("netns", "I"),
    ("pid", "I"),
    ("uid", "I"),
    ("filled_to", "I"),
    ("limit", "I"),
    ("charged", "I"),
    ("drops", "I"),
    ("drops_before", "I"),
    ("local_port", "H"),
    ("remote_port", "H"),
    ("what", "B"),
    ("direction", "B"),
    ("protocol", "B"),
    ("family", "B"),
    ("state", "B"),
    ("of_buffer", "B"),
    ("rule", "H"),
    ("rules", "I"),
    ("local_ip", "16s"),
    ("remote_ip", "16s"),
    ("comm", "16s"),
)
"""The fields of `struct queue_event` in order, with their `struct` codes; native byte order, no implicit padding."""

WIRE = struct.Struct("=" + "".join(code for _, code in FIELDS))


def over(raw: bytes, event: Event) -> bytes:
    """Return the bytes of an UNSURE event as those of an OVER with the threshold and the rule of `event`."""
    values = list(WIRE.unpack_from(raw))
    of_buffer = event.condition is Condition.FILL
    sure = {"what": What.OVER, "threshold": event.threshold, "of_buffer": of_buffer}
    sure |= {"rules": event.rules, "rule": event.rule}
    for place, (name, _) in enumerate(FIELDS):
        if name in sure:
            values[place] = sure[name]
    return WIRE.pack(*values)


def ip_text(family: int, raw: bytes) -> str:
    """Return an address as `ss -n` shows it; IPv4 uses the first four of the bytes."""
    return intern(socket.inet_ntop(family, raw[:4] if family == socket.AF_INET else raw[:16]))


def _hooked(number: int) -> Direction:
    direction = Direction(number)
    if direction is Direction.ACCEPT:
        raise ValueError(f"{number} is no direction that a hook reports")
    return direction


def decode(raw: bytes) -> Event:
    """Read one `struct queue_event`.

    Raise ValueError (or struct.error) when the bytes are not one.
    """
    (
        ns, since_ns, address, inode, cgroup,
        size, since_size, peak, threshold, netns, pid, uid, _, limit, charged, drops, drops_before,
        local_port, remote_port, what, direction, protocol, family, state, of_buffer, rule, rules,
        local_ip, remote_ip, comm,
    ) = WIRE.unpack_from(raw)  # fmt: skip
    drops_are_its_own = protocol == Protocol.UDP and direction == Direction.RECV
    return Event(
        what=What(what),
        mode=Mode.EBPF,
        direction=_hooked(direction),
        socket=Socket(
            protocol=Protocol(protocol),
            local_ip=ip_text(family, local_ip),
            local_port=local_port,
            remote_ip=ip_text(family, remote_ip),
            remote_port=remote_port,
            netns=netns,
            inode=inode,
            uid=uid,
            cgroup=cgroup,
        ),
        address=address,
        ns=ns,
        since_ns=since_ns,
        size=size,
        since_size=since_size,
        peak=peak,
        threshold=threshold,
        pid=pid,
        comm=comm.split(b"\0", 1)[0].decode("utf-8", "replace"),
        condition=Condition.FILL if of_buffer else Condition.SIZE,
        facts=Facts(
            limit,
            charged,
            state,
            (drops - drops_before) % 2**32 if drops_are_its_own else None,
            drops_before if drops_are_its_own else None,
        ),
        rules=rules,
        rule=rule,
    )
