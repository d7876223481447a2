# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the hooks say of queues that drain, and the look at those that drained before the hooks came."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterable

from sockbpf.kernel.attach.probes import Probes
from sockbpf.record.event import Direction, Event, What
from tests.abi.armed_sockets import inode
from tests.live.waiting import wait_until

SETTLED_S = 0.003
"""Longer than SETTLED_NS of bpf/drained.h."""


def said(probes: Probes, sock: socket.socket, direction: Direction) -> list[What]:
    """Return what the hooks have said of a queue since the last call."""
    of_sock = [event for event in probes.read() if event.socket.inode == inode(sock)]
    return [event.what for event in sorted(of_sock, key=lambda e: e.ns) if event.direction is direction]


def look(probes: Probes) -> None:
    """Look for what drained, a while later, as the monitor does: what was just judged is left to the hooks."""
    wait_until(time.monotonic() + SETTLED_S)
    assert probes.end_drained()


def assert_told_apart(events: Iterable[Event], sock: socket.socket, bursts: int) -> None:
    """Assert that of these events those of a socket are so many beginnings, each with its end."""
    told = sorted((e for e in events if e.socket.inode == inode(sock)), key=lambda e: (e.since_ns, e.ns))
    assert [event.what for event in told] == [What.OVER, What.BACK] * bursts
    assert all(over.since_ns == back.since_ns for over, back in zip(told[::2], told[1::2], strict=True))
