# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the event buffers have no room for is counted at both doors: by the programs, and by the reader."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from sockbpf.counters import Counters
from sockbpf.kernel.attach.arm import arm
from sockbpf.kernel.attach.tables import KernelLevels
from sockbpf.record.event import What
from sockbpf.settings.config import Config, Kernel
from tests.live.sockets import drain, inode, tcp_pair
from tests.live.waiting import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root")

THRESHOLD, UNREAD = 20_011, 30_011
CROSSINGS = 101
"""Of a receive queue, there and back: several times what one page takes."""


@pytest.fixture
def one_cpu() -> Iterator[None]:
    """Stay on one CPU: all that is said is said to one buffer."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    yield
    os.sched_setaffinity(0, before)


def test_lost_events_are_counted_twice(one_cpu: None) -> None:
    counters = Counters()
    config = Config(url="http://127.0.0.1:9/", kernel=Kernel(perf_pages=1))
    probes = arm(config, KernelLevels((2**32 - 1, THRESHOLD), clear=(0, 0)), counters)
    probes.demand(wanted=True)
    try:
        with ExitStack() as stack:
            client, server = tcp_pair(stack)
            for _ in range(CROSSINGS):
                client.sendall(bytes(UNREAD))
                drain(server, UNREAD)
            tally, said = probes.tables.tally(), probes.read()
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
