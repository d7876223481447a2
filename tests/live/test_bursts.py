# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Nothing is missed and nothing is invented: bursts that no poll would see, counted exactly."""

from __future__ import annotations

import socket
import time
from contextlib import ExitStack

import pytest

from sockbpf.kernel.look.netns import inside
from tests.live.bpf import attachments
from tests.live.bursting import (
    DATAGRAM,
    Burst,
    expect,
    tcp_receive,
    tcp_send,
    truesize,
    udp_receive,
    udp_send,
)
from tests.live.monitoring import Monitor, StartMonitor
from tests.live.network import DISCARD, slow_link
from tests.live.receiver import Receiver
from tests.live.running import one_cpu, watch_the_last_leave
from tests.live.sockets import port, unsent
from tests.live.waiting import until

OVER, UNDER = 1009, 10_007
"""How many bursts go over the threshold, and how many stay at or under it."""

SENT = 23
"""How many bursts go into the queue of a slow device."""

THRESHOLD = 20_011

QUIET_S = 600
"""How long the rest of the host may take to be quiet for a minute."""

SEND, RECV = 15_013, 10_007
"""Thresholds: a burst over that of the one direction of TCP is none of the other."""


def assert_hooks_saw_all(monitor: Monitor, receiver: Receiver, sock: socket.socket) -> None:
    """Assert that nothing was lost on the way and nothing of this socket left to the sweeps.

    They may see what others left over the threshold before the monitor began.
    """
    monitor.stop()
    counts = monitor.counters()
    assert counts["lost_submit"] == counts["lost_ring"] == 0
    for event, by_sweep in (("exceeded", "begun_by_sweep"), ("cleared", "ended_by_sweep")):
        told = receiver.alerts(event=event, mode="poll")
        assert counts[by_sweep] == len([each for each in told if each["local_port"] != str(port(sock))])


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
    assert_hooks_saw_all(monitor, receiver, busy)


def rest(monitor: Monitor, quiet_s: float, attached: int) -> None:
    """Let this time pass, and more until no more hooks than these are attached: other sockets may be over too."""
    end_s = time.monotonic() + quiet_s
    until(
        lambda: time.monotonic() > end_s and attachments(monitor.pid) <= attached,
        "no socket of the host over for a minute",
        quiet_s + QUIET_S,
    )


def test_back_to_back_before_the_hooks_of_drains_are_attached(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, quiet_s: float
) -> None:
    """What sees a queue drain is attached by the first burst: those before and those after are told apart alike."""
    monitor = start_monitor(thresholds={"send": SEND, "recv": RECV})
    slow, leave = udp_send(stack, SEND + 1)
    bursts: dict[tuple[str, str], tuple[socket.socket, Burst]] = {
        ("TCP", "RECV"): tcp_receive(stack, "ipv4", RECV + 1),
        ("TCP", "SEND"): tcp_send(stack, 100_003),
        ("UDP", "RECV"): udp_receive(stack, "ipv4", RECV // truesize(stack) + 1),
        ("UDP", "SEND"): (slow, leave),
    }
    cold, told = attachments(monitor.pid), 0
    for pause_s in [0.0, *([quiet_s] if quiet_s else [])]:
        rest(monitor, pause_s, cold)
        told += OVER
        for (protocol, type_), (sock, burst) in bursts.items():
            before = attachments(monitor.pid)
            for _ in range(OVER):
                burst()
            uncertain = leave.uncertain if sock is slow else 0
            came = attachments(monitor.pid) - before
            print(f"{protocol} {type_}, {came} hooks came, {uncertain} uncertain:", end=" ")
            expect(receiver, sock, told, type_, uncertain)
        assert attachments(monitor.pid) > cold, "the hooks of drains came"


def test_udp_send(start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack) -> None:
    """Bursts into a device's queue, each drained before the next.

    The device drains while a burst is written: only an empty queue counts as back, and the device takes a quarter
    of a second to empty it, far longer than the writing of a burst is ever interrupted.
    """
    link = stack.enter_context(slow_link(rate="1mbit"))
    start_monitor(thresholds={"send": THRESHOLD, "recv": "100MB"}, clear_ratio=0)
    stack.enter_context(one_cpu())
    with inside(f"/run/netns/{link.sender}"):
        writer = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    writer.connect((link.far["ipv4"], DISCARD))
    for _ in range(SENT):
        for _ in range(31):
            writer.send(bytes(DATAGRAM))
        watch_the_last_leave(writer)
    queue = {"local_port": port(writer), "type": "SEND", "mode": "ebpf"}
    receiver.count(SENT, event="cleared", **queue)
    assert (
        len(receiver.alerts(event="exceeded", **queue))
        == len(receiver.alerts(event="cleared", **queue))
        == SENT
    )


def test_udp_send_that_leaves_at_once(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    """A device takes many packets before any of them is off the queue: which is empty as the last one is."""
    rate = "64kbit"
    link = stack.enter_context(slow_link(rate))
    monitor = start_monitor(thresholds={"send": THRESHOLD, "recv": "100MB"}, clear_ratio=0)
    cold = attachments(monitor.pid)
    with inside(f"/run/netns/{link.sender}"):
        writer = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    writer.connect((link.far["ipv4"], DISCARD))
    queue = {"local_port": port(writer), "type": "SEND", "mode": "ebpf"}
    for number in range(1, 6):
        for _ in range(31):
            writer.send(bytes(DATAGRAM))
        receiver.count(number, event="exceeded", **queue)
        until(lambda: attachments(monitor.pid) > cold, "the hooks of drains came")
        link.release()
        until(lambda: unsent(writer) == 0, "the queue drained")
        link.hold(rate)
    receiver.count(5, event="cleared", **queue)
    assert_hooks_saw_all(monitor, receiver, writer)
