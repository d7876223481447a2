# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the kernel side reads of a TCP sender at the crossing is what the kernel itself says of that socket."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, closing
from socket import socket

import pytest

from sockbpf.counters import Counters
from sockbpf.kernel.attach.arm import arm
from sockbpf.kernel.attach.probes import Probes
from sockbpf.kernel.attach.tables import KernelLevels
from sockbpf.kernel.look.close import CloseLook
from sockbpf.record.closeup import Closeup, Tcp, Timer
from sockbpf.record.event import Direction, Event, Protocol, Socket, What
from sockbpf.settings.config import Config
from tests.live.sockets import deafen, inode, tcp_pair, unsent
from tests.live.waiting import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root")

THRESHOLD, WAITED_FOR = 300_007, 2
NETNS = os.stat("/proc/self/ns/net").st_ino
SAME = (
    "snd_wnd",
    "unacked",
    "sacked",
    "lost",
    "retrans",
    "total_retrans",
    "cwnd",
    "mss",
    "retransmits",
    "backoff",
)


@pytest.fixture
def probes() -> Iterator[Probes]:
    made = arm(
        Config(url="http://127.0.0.1:9/"), KernelLevels(2 * (THRESHOLD,), clear=2 * (THRESHOLD,)), Counters()
    )
    yield made
    made.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def crossed(probes: Probes, client: socket) -> tuple[Closeup, Closeup]:
    """Send up to the threshold, and a byte more; return what was read at the crossing, and what is said of it."""
    number = inode(client)
    told: list[Event] = []

    def over() -> list[Event]:
        told.extend(probes.read())
        return [
            event
            for event in told
            if (event.socket.inode, event.direction, event.what) == (number, Direction.SEND, What.OVER)
        ]

    client.send(bytes(THRESHOLD - unsent(client)))
    client.send(b"x")
    (event,) = until(over, "the crossing")
    now = looked_at(client)
    assert event.crossing
    return event.crossing, now


def of(closeup: Closeup) -> Tcp:
    assert closeup.tcp
    return closeup.tcp


def same(crossing: Closeup, now: Closeup) -> None:
    """Check that both say the same; only the times of the latter are known."""
    assert {name: getattr(of(crossing), name) for name in SAME} == {
        name: getattr(of(now), name) for name in SAME
    }
    assert (crossing.timer, crossing.state, crossing.inode) == (now.timer, now.state, now.inode)
    assert (crossing.send, of(crossing).notsent) == (now.send, of(now).notsent)
    assert crossing.memory
    assert now.memory
    for name in ("wmem", "sndbuf", "queued"):
        assert getattr(crossing.memory, name) == getattr(now.memory, name), name


def looked_at(client: socket) -> Closeup:
    """Return what the kernel says of a socket."""
    (ip, port), (remote_ip, remote_port) = client.getsockname()[:2], client.getpeername()[:2]
    with closing(CloseLook()) as look:
        found = look.look(Socket(Protocol.TCP, ip, port, remote_ip, remote_port, NETNS, inode(client)))
    assert found
    return found


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_a_closed_window(probes: Probes, stack: ExitStack, family: str) -> None:
    client, _ = tcp_pair(stack, family, rcvbuf=4096)
    client.send(bytes(100_003))

    def is_shut() -> bool:
        now = looked_at(client)
        return (now.timer, of(now).snd_wnd, of(now).backoff) == (Timer.PERSIST, 0, WAITED_FOR)

    until(is_shut, "the closed window, and long until it is probed again")
    crossing, now = crossed(probes, client)
    same(crossing, now)
    assert (of(crossing).unacked, crossing.timer) == (0, Timer.PERSIST)


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
def test_no_acknowledgement(probes: Probes, stack: ExitStack, family: str) -> None:
    client, _ = tcp_pair(stack, family)
    deafen(client)
    client.send(bytes(1009))
    until(lambda: of(looked_at(client)).backoff == WAITED_FOR, "the timeouts")
    crossing, now = crossed(probes, client)
    same(crossing, now)
    assert (of(crossing).retransmits, of(crossing).lost) == (WAITED_FOR, 1)
