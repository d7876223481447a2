# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What one socket looked like at one instant, closely, and what the threads of its owner did then."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

from sockbpf.record.event import Direction


class Timer(IntEnum):
    """What the socket waits for; `idiag_timer` of include/uapi/linux/inet_diag.h, as net/ipv4/inet_diag.c sets it."""

    NONE = 0
    RETRANSMIT = 1
    KEEPALIVE = 2
    TIME_WAIT = 3
    PERSIST = 4
    """It asks the peer again and again whether its window is still closed."""


CONNECTED = frozenset({1, 4, 5, 8, 9, 11})
"""The states of TCP in which payload was or could be sent: the kernel has the times of a connection."""


@dataclass(frozen=True, slots=True)
class Memory:
    """What the buffers are charged, and their sizes, bytes; SK_MEMINFO_* of include/uapi/linux/sock_diag.h."""

    wmem: int
    """sk_wmem_alloc: what was handed to the device or waits in front of it: sk_wmem_alloc_get."""
    sndbuf: int
    queued: int
    rmem: int | None = None
    rcvbuf: int | None = None
    backlog: int | None = None
    drops: int | None = None
    """sk_drops; datagrams of UDP. Of TCP it says nothing of a loss."""


@dataclass(frozen=True, slots=True)
class Tcp:
    """The part of struct tcp_info (include/uapi/linux/tcp.h) that tells causes; None: not of this kernel.

    `unacked`, `sacked`, `lost`, `retrans` and `cwnd` are segments; windows and `notsent` bytes; times are in the unit
    of their name.
    """

    retransmits: int
    backoff: int
    rto_us: int | None
    mss: int
    unacked: int
    sacked: int
    lost: int
    retrans: int
    last_ack_ms: int | None
    rtt_us: int
    cwnd: int
    total_retrans: int
    received: int | None = None
    """Bytes that have come in order: with what is unread, how many were read."""
    acked: int | None = None
    notsent: int | None = None
    busy_us: int | None = None
    rwnd_limited_us: int | None = None
    sndbuf_limited_us: int | None = None
    snd_wnd: int | None = None
    last_sent_ms: int | None = None
    """How long ago payload was last sent, again too."""
    last_recv_ms: int | None = None
    """How long ago payload last came."""

    @property
    def in_flight(self) -> int:
        """Segments that are on their way: tcp_packets_in_flight of include/net/tcp.h."""
        return self.unacked - self.sacked - self.lost + self.retrans


@dataclass(frozen=True, slots=True)
class Closeup:
    """One socket at the instant `ns`, CLOCK_MONOTONIC. `recv` and `send` are its queues as `ss` shows them."""

    ns: int
    state: int
    inode: int
    recv: int
    send: int
    timer: Timer
    memory: Memory | None = None
    tcp: Tcp | None = None
    expires_ms: int | None = None
    """In how long the timer runs out."""

    def left(self, direction: Direction) -> int | None:
        """Return how many bytes have left the queue since the connection began; None where that is not known."""
        if self.tcp is None:
            return None
        if direction is Direction.SEND:
            return self.tcp.acked
        return None if self.tcp.received is None else self.tcp.received - self.recv

    def age_ms(self, direction: Direction) -> int | None:
        """Return how long ago payload last came in; of SEND, how long ago any was sent or the peer acknowledged.

        Of these two it is the longer time: while its window is closed a peer acknowledges again and again, and what
        it does not acknowledge is sent again and again. None where that is not known.
        """
        if self.tcp is None or self.state not in CONNECTED:
            return None
        if direction is Direction.RECV:
            return self.tcp.last_recv_ms
        sent, acknowledged = self.tcp.last_sent_ms, self.tcp.last_ack_ms
        return None if sent is None or acknowledged is None else max(sent, acknowledged)


@dataclass(frozen=True, slots=True)
class Thread:
    """What a thread does: `state` is the letter of /proc/PID/stat, `where` the kernel's function it sleeps in."""

    state: str
    where: str = ""
