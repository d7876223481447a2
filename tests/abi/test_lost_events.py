# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the event buffers have no room for is counted at both doors: by the programs, and by the reader."""

from __future__ import annotations

import os
from contextlib import ExitStack

import pytest

from sockbpf.counters import Counters
from sockbpf.kernel.attach.arm import arm
from sockbpf.kernel.attach.tables import KernelLevels
from sockbpf.record.event import What
from sockbpf.settings.config import Config, Kernel
from tests.live.running import one_cpu
from tests.live.sockets import drain, inode, tcp_pair
from tests.live.waiting import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root")

THRESHOLD, UNREAD = 20_011, 30_011
CROSSINGS = 101
"""Of a receive queue, there and back: several times what one page takes."""


def test_lost_events_are_counted_twice() -> None:
    counters = Counters()
    config = Config(url="http://127.0.0.1:9/", kernel=Kernel(perf_pages=1))
    probes = arm(config, KernelLevels((2**32 - 1, THRESHOLD), clear=(0, 0)), counters)
    probes.demand(wanted=True)
    try:
        with ExitStack() as stack:
            stack.enter_context(one_cpu())  # all that is said is said to one buffer
            client, server = tcp_pair(stack)
            for _ in range(CROSSINGS):
                client.sendall(bytes(UNREAD))
                drain(server, UNREAD)
            tally, said = probes.tables.tally(), list(probes.read())
            ours = [event.what for event in said if event.socket.inode == inode(server)]
            print(f"{len(said)} said, {tally.lost} lost")
            assert tally.lost + len(said) == tally.opened + tally.closed >= 2 * CROSSINGS > len(ours) > 0
            assert ours == ([What.OVER, What.BACK] * CROSSINGS)[: len(ours)]

            # The kernel tells the reader of a loss with the next event that there is room for.
            assert not counters.snapshot()["lost_ring"]
            client.sendall(bytes(UNREAD))
            until(lambda: [e for e in probes.read() if e.socket.inode == inode(server)], "the next event")
            assert counters.snapshot()["lost_ring"] == tally.lost > 0
    finally:
        probes.close()
