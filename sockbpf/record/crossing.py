# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the kernel side read of a TCP sender as its queue exceeded the threshold: gone by the time of a closer look.

The bytes are `struct crossing` of bpf/event.h, behind those of the event; tests/abi checks this file against it.
"""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import TYPE_CHECKING

from sockbpf.record.closeup import Closeup, Memory, Tcp, Timer
from sockbpf.record.event import WIRE, decode

if TYPE_CHECKING:
    from sockbpf.record.event import Event

FIELDS = (
    ("snd_wnd", "I"),
    ("unacked", "I"),
    ("sacked", "I"),
    ("lost", "I"),
    ("retrans", "I"),
    ("total_retrans", "I"),
    ("cwnd", "I"),
    ("mss", "I"),
    ("rtt_us8", "I"),
    ("notsent", "I"),
    ("wmem", "I"),
    ("retransmits", "B"),
    ("backoff", "B"),
    ("pending", "B"),
    ("pad", "B"),
)
"""The fields of `struct crossing` in order, with their `struct` codes."""

CROSSING = struct.Struct("=" + "".join(code for _, code in FIELDS))

TIMERS = {1: Timer.RETRANSMIT, 3: Timer.PERSIST, 5: Timer.RETRANSMIT, 6: Timer.RETRANSMIT}
"""ICSK_TIME_* of include/net/inet_connection_sock.h, as net/ipv4/inet_diag.c shows them: inet_sk_diag_fill."""


def decode_told(raw: bytes) -> Event:
    """Read one record of the ring: an event, with what else was read at the crossing where that stands behind it.

    Raise ValueError (or struct.error) when the bytes are not one.
    """
    event = decode(raw)
    if len(raw) < WIRE.size + CROSSING.size:
        return event
    values = CROSSING.unpack_from(raw, WIRE.size)
    read = {name: value for (name, _), value in zip(FIELDS, values, strict=True) if name != "pad"}
    return replace(event, crossing=_closeup(event, **read))


def _closeup(event: Event, *, rtt_us8: int, wmem: int, pending: int, **tcp: int) -> Closeup:
    """Return what was read in the form of a close look; its `ns` is that of the crossing."""
    facts = event.facts
    return Closeup(
        event.since_ns,
        facts.state,
        event.socket.inode,
        0,
        event.since_size,
        TIMERS.get(pending, Timer.NONE),
        Memory(wmem=max(wmem - 1, 0), sndbuf=facts.limit, queued=facts.charged),
        Tcp(rto_us=None, last_ack_ms=None, rtt_us=rtt_us8 >> 3, **tcp),
    )
