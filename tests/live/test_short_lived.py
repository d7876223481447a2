# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""10 007 sockets that crossed and were gone a moment later: one `exceeded`, one `cleared` of each, nothing left."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections import Counter
from contextlib import ExitStack

import pytest

from sockbpf.counters import LOSSES
from tests.live.bpf import open_episodes, shows_ids
from tests.live.ending import THRESHOLD
from tests.live.monitoring import StartMonitor
from tests.live.receiver import Receiver
from tests.live.short_lived import SOCKETS, UDP_SOCKETS
from tests.live.waiting import until


@pytest.mark.timeout(240)
def test_many_short_lived(start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack) -> None:
    monitor = start_monitor(
        thresholds={"send": "1GiB", "recv": THRESHOLD},
        delivery={"queue": 3 * SOCKETS},
        kernel={"perf_pages": 1024},  # room for all of them, should the monitor not get a processor meanwhile
        repeat="1h",
    )
    child = stack.enter_context(
        subprocess.Popen(
            ["unshare", "--net", sys.executable, "-c", "from tests.live.short_lived import churn; churn()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
    )
    stack.callback(child.kill)
    assert child.stdout
    begun = time.monotonic()
    assert child.stdout.readline() == "done\n"
    print(f"{SOCKETS} sockets came and went in {time.monotonic() - begun:.1f} s")
    netns = os.stat(f"/proc/{child.pid}/ns/net").st_ino
    until(
        lambda: len(receiver.told) >= 2 * SOCKETS, "about as many alerts", 120
    )  # cheap while many are to come
    until(lambda: len(receiver.alerts(netns=netns)) >= 2 * SOCKETS, "all alerts", 120)
    print(f"all told after {time.monotonic() - begun:.1f} s")

    # The namespace lives on: what was left in the table would still be there.
    assert not shows_ids(monitor.pid) or not [
        episode for episode in open_episodes(monitor.pid) if episode.socket.netns == netns
    ]
    child.kill()
    assert monitor.stop() == 0
    alerts = receiver.alerts(netns=netns)
    assert Counter(alert["event"] for alert in alerts) == {"exceeded": SOCKETS, "cleared": SOCKETS}
    events: dict[str, list[str]] = {}
    for alert in alerts:
        events.setdefault(alert["id"], []).append(alert["event"])
    assert set(map(tuple, events.values())) == {("exceeded", "cleared")}
    assert Counter(alert["protocol"] for alert in alerts) == {
        "udp": 2 * UDP_SOCKETS,
        "tcp": 2 * (SOCKETS - UDP_SOCKETS),
    }
    counters = monitor.counters()
    print(counters)
    assert [counters[name] for name in LOSSES if name != "sweep_failed"] == [0] * (len(LOSSES) - 1)
