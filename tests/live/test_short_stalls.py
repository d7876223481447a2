# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Stalls in short, for slow machines: what stands still is told and its end too, what moves is not."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack

from tests.live.monitoring import StartMonitor
from tests.live.receiver import Receiver
from tests.live.sockets import FAMILIES
from tests.live.stalling import UNREAD, unacknowledged_tcp, unread_tcp, unread_udp
from tests.live.waiting import wait_until


def test_what_stands_still_is_told_and_what_moves_is_not(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    monitor = start_monitor(stalled={"after": "3s"}, repeat="1s")
    has_iterators = "looked at by BPF iterators" in monitor.log()
    kinds = (unread_tcp, unacknowledged_tcp, *((unread_udp,) if has_iterators else ()))
    stalls = [make(stack, family) for make in kinds for family in FAMILIES]
    busy = [make(stack, "ipv4") for make in (unread_tcp, unread_udp)]
    while not all(receiver.alerts(event="ongoing", **stall.queue) for stall in stalls):
        for queue in busy:
            queue.empty()
            queue.fill()
        wait_until(time.monotonic() + 0.05)
    for stall in stalls:
        told = receiver.first(event="exceeded", **stall.queue)
        assert told["condition"] == "stalled"
        receiver.first(id=told["id"], pid=os.getpid())
        if told["protocol"] == "tcp":
            assert (told["size"], told["state"]) == (str(UNREAD), "ESTAB")
    for queue in busy:
        queue.empty()
        assert not receiver.alerts(**queue.queue)
    for stall in stalls:
        stall.empty()
    for stall in stalls:
        receiver.first(event="cleared", condition="stalled", **stall.queue)
