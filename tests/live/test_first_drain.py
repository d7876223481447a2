# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""One burst on a quiet host and nothing after it: what sees it drain is attached when it has drained already."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from tests.live.bursting import Burst, tcp_receive, truesize, udp_receive
from tests.live.monitoring import Monitor, StartMonitor
from tests.live.ours import only_ours
from tests.live.receiver import Receiver
from tests.live.sockets import drain, port, tcp_pair, unsent
from tests.live.waiting import until

THRESHOLD = 20_011


Made = tuple[socket.socket, Burst]


def receive(stack: ExitStack) -> Made:
    return tcp_receive(stack, "ipv4", THRESHOLD + 1)


def send(stack: ExitStack) -> Made:
    client, server = tcp_pair(stack, rcvbuf=8192)
    client.setblocking(False)

    def burst() -> None:
        drain(server, client.send(bytes(100_003)))
        # Else a timer may send the last acknowledgement.
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        until(lambda: unsent(client) == 0, "everything acknowledged")

    return client, burst


def receive_udp(stack: ExitStack) -> Made:
    return udp_receive(stack, "ipv4", THRESHOLD // truesize(stack) + 1)


def assert_no_sweep_ended_it(monitor: Monitor) -> None:
    monitor.stop()
    counts = monitor.counters()
    assert counts["lost_submit"] == counts["lost_ring"] == 0
    assert counts["begun_by_sweep"] == counts["ended_by_sweep"] == counts["recovered"] == 0


@pytest.mark.parametrize(("direction", "make"), [("RECV", receive), ("SEND", send), ("RECV", receive_udp)])
def test_the_first_episode_ends(
    start_monitor: StartMonitor,
    receiver: Receiver,
    stack: ExitStack,
    direction: str,
    make: Callable[[ExitStack], Made],
) -> None:
    levels = {"send": "100MB", "recv": "100MB"} | {direction.lower(): THRESHOLD}
    sock, burst = make(stack)
    monitor = start_monitor(thresholds=levels, rules=only_ours(port(sock)))
    burst()
    queue = {"local_port": port(sock), "type": direction}
    receiver.count(1, event="cleared", **queue)
    (cleared,) = receiver.alerts(event="cleared", **queue)
    (exceeded,) = receiver.alerts(event="exceeded", **queue)
    assert cleared["id"] == exceeded["id"]
    assert int(cleared["size"]) <= THRESHOLD < int(cleared["peak"])
    print(f"it stood over for {float(cleared['duration']) * 1e3:.1f} ms")
    assert_no_sweep_ended_it(monitor)
