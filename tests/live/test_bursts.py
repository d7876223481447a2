# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Nothing is missed and nothing is invented: bursts that no poll would see, counted exactly."""

from __future__ import annotations

import socket
from contextlib import ExitStack

import pytest

from sockbpf.kernel.look.netns import inside
from tests.live.bursting import DATAGRAM, expect, tcp_receive, truesize, udp_receive
from tests.live.monitoring import Monitor, StartMonitor
from tests.live.network import DISCARD, slow_link
from tests.live.receiver import Receiver
from tests.live.sockets import drain, port, tcp_pair, unsent
from tests.live.waiting import until

OVER, UNDER = 1009, 10_007
"""How many bursts go over the threshold, and how many stay at or under it."""

SENT = 23
"""How many bursts go into the queue of a slow device."""

THRESHOLD = 20_011


def assert_hooks_saw_all(monitor: Monitor) -> None:
    """Assert that nothing was lost on the way and nothing left to the sweeps."""
    monitor.stop()
    counts = monitor.counters()
    assert counts["lost_submit"] == counts["lost_ring"] == 0
    assert counts["begun_by_sweep"] == counts["ended_by_sweep"] == 0


@pytest.mark.parametrize("family", ["ipv4", "ipv6"])
@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_receive(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, protocol: str, family: str
) -> None:
    monitor = start_monitor(thresholds={"send": "100MB", "recv": THRESHOLD})
    make = {"tcp": tcp_receive, "udp": udp_receive}[protocol]
    most = THRESHOLD if protocol == "tcp" else THRESHOLD // truesize(stack)
    quiet, stay_under = make(stack, family, most)
    busy, go_over = make(stack, family, most + 1)
    for _ in range(UNDER):
        stay_under()
    for _ in range(OVER):
        go_over()
    expect(receiver, busy, OVER)
    assert receiver.alerts(local_port=port(quiet), protocol=protocol) == []
    assert_hooks_saw_all(monitor)


def test_tcp_send(start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack) -> None:
    """Bursts into a send queue: more than the peer's window takes, then all of it read."""
    monitor = start_monitor(thresholds={"send": THRESHOLD, "recv": "100MB"})
    client, server = tcp_pair(stack, rcvbuf=8192)
    client.setblocking(False)
    for _ in range(OVER):
        sent = client.send(bytes(100_003))
        drain(server, sent)
        until(lambda: unsent(client) == 0, "everything acknowledged")
    queue = {"local_port": port(client), "type": "SEND"}
    receiver.count(OVER, event="cleared", **queue)
    assert (
        len(receiver.alerts(event="exceeded", **queue))
        == len(receiver.alerts(event="cleared", **queue))
        == OVER
    )
    assert_hooks_saw_all(monitor)


def test_udp_send(start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack) -> None:
    """Bursts into a device's queue, each drained before the next.

    The device drains while a burst is written: only an empty queue counts as back, and the device takes a quarter
    of a second to empty it, far longer than the writing of a burst is ever interrupted.
    """
    link = stack.enter_context(slow_link(rate="1mbit"))
    start_monitor(thresholds={"send": THRESHOLD, "recv": "100MB"}, clear_ratio=0)
    with inside(f"/run/netns/{link.sender}"):
        writer = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    writer.connect((link.far["ipv4"], DISCARD))
    for _ in range(SENT):
        for _ in range(31):
            writer.send(bytes(DATAGRAM))
        until(lambda: unsent(writer) == 0, "the queue drained")
    queue = {"local_port": port(writer), "type": "SEND", "mode": "ebpf"}
    receiver.count(SENT, event="cleared", **queue)
    assert (
        len(receiver.alerts(event="exceeded", **queue))
        == len(receiver.alerts(event="cleared", **queue))
        == SENT
    )
