# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A look at all sockets of one network namespace: what is asked for, what is found, and who can do it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING
from typing import Protocol as Shape

from sockbpf.record.event import NO_UID, Socket, ip_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.kernel.look.packed import Handed
    from sockbpf.record.event import Direction, Protocol


class Which(IntEnum):
    """Which sockets a look hands over; `enum which` of bpf/look.h."""

    ALL = 0
    NOT_EMPTY = 1
    OVER_ONLY = 2


@dataclass(frozen=True, slots=True)
class Terms:
    """What a look hands over: sockets of that kind, and these inodes in any case.

    `send` and `recv` are thresholds in bytes: over is greater than. With `orphans` it hands over whatever holds
    something and has no inode: of connections that were closed, or not accepted. With `progress` each says what has
    left its queues, which costs sock_diag more.
    """

    which: Which = Which.NOT_EMPTY
    send: int = 0
    recv: int = 0
    inodes: frozenset[int] = frozenset()
    orphans: bool = False
    progress: bool = False

    def take(self, send: int, recv: int, inode: int) -> bool:
        """Tell whether a socket with these queues is to be handed over."""
        if self.which is Which.ALL or inode in self.inodes:
            return True
        if self.which is Which.OVER_ONLY and (inode or not self.orphans):
            return send > self.send or recv > self.recv
        return bool(send or recv)


@dataclass(frozen=True, slots=True)
class Detail:
    """What is read of a socket besides. Sizes are bytes.

    `state` is the number that TCP states have, `rcv_charged` and `snd_charged` are what the kernel compares with
    `rcvbuf` and `sndbuf`. By iterators alone, else 0: `address`, the kernel's address of the socket, `cookie`, 0 if
    nobody has asked for it, `cgroup`, its cgroup's id or 0, `netns`, and TCP's sequence numbers modulo 2^32. Of UDP
    `rcv_nxt` and `copied_seq` are the halves of a number, the upper one first, that says which datagram is to be read
    next: 0 if there is none.
    """

    address: int
    cookie: int
    cgroup: int
    state: int
    rcvbuf: int
    rcv_charged: int
    sndbuf: int
    snd_charged: int
    drops: int
    netns: int
    rcv_nxt: int = 0
    copied_seq: int = 0
    write_seq: int = 0
    snd_una: int = 0
    snd_nxt: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """One socket: queues in bytes, ports and addresses as the kernel has them, network order.

    Of `recv`, up to `unsure` bytes may have been read already.
    """

    family: int
    local_port: bytes
    remote_port: bytes
    local_ip: bytes
    remote_ip: bytes
    recv: int
    send: int
    inode: int
    uid: int = NO_UID
    unsure: int = 0
    detail: Detail | None = None
    """None where the kernel did not say it: of connections of MPTCP."""
    left: Mapping[Direction, int] | None = None
    """How many bytes have left each queue, from any beginning, where sock_diag was asked for that and knows it."""

    @property
    def ends(self) -> tuple[bytes, bytes, bytes, bytes]:
        """Addresses and ports, local first."""
        return self.local_ip, self.local_port, self.remote_ip, self.remote_port


def socket_of(row: Row, protocol: Protocol, netns: int) -> Socket:
    """Return who the socket is; `netns` is the namespace in which it was found."""
    return Socket(
        protocol=protocol,
        local_ip=ip_text(row.family, row.local_ip),
        local_port=int.from_bytes(row.local_port, "big"),
        remote_ip=ip_text(row.family, row.remote_ip),
        remote_port=int.from_bytes(row.remote_port, "big"),
        netns=netns,
        inode=row.inode,
        uid=row.uid,
        cgroup=row.detail.cgroup if row.detail else 0,
    )


class Look(Shape):
    """One way to look at all sockets. For one thread at a time."""

    @property
    def name(self) -> str:
        """A word for the way, in log lines."""

    def rows(self, protocol: Protocol, terms: Terms) -> list[Row]:
        """Return the sockets, in the calling thread's network namespace, that have queues and are asked for.

        Paths of MPTCP connections are left out. Raise OSError.
        """

    def handed(self, protocol: Protocol, which: Which, *, progress: bool = False) -> Handed:
        """Return all sockets of the calling thread's network namespace that hold something; or the empty ones too.

        It takes a tenth of the memory of `rows`, and of the time where few rows are made of it. With `progress` each
        says what has left its queues, which costs sock_diag more, iterators nothing. Raise OSError.
        """

    def close(self) -> None:
        """Let go of what is held."""
