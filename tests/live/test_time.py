# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Whatever clock the monitor's time namespace has, and whatever becomes of the date, it goes by the kernel's."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from sockbpf.delivery.journal import Journal
from sockbpf.delivery.owed import Owed, body_of
from sockbpf.process.clock import boot_id, boottime_s
from tests.live.monitoring import KERNEL, StartMonitor, thresholds
from tests.live.receiver import Receiver
from tests.live.sockets import drain, port, tcp_pair

UNREAD = 30_011
HOLD_S = 1
AHEAD_S, BEHIND_S = 100_003, -int(float(Path("/proc/uptime").read_text().split()[0]) / 2)
"""No clock of a time namespace may be before its host was booted."""


@pytest.mark.skipif(
    not Path("/proc/self/timens_offsets").exists(), reason="no time namespaces before Linux 5.6"
)
@pytest.mark.parametrize("hooks", ["auto", "none"])
@pytest.mark.parametrize("offset_s", [AHEAD_S, BEHIND_S])
def test_in_a_time_namespace(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, offset_s: int, hooks: str
) -> None:
    monitor = start_monitor(
        before=["unshare", "--time", "--monotonic", str(offset_s), "--boottime", str(offset_s)],
        thresholds=thresholds(20_011),
        hold=f"{HOLD_S}s",
        sweep={"poll": "100ms"},
        kernel=KERNEL | {"hooks": hooks} if hooks == "none" else KERNEL,
    )
    client, server = tcp_pair(stack)
    quiet = {"type": "RECV", "local_port": port(server)}
    over_s = time.time()
    client.sendall(bytes(UNREAD))
    told = receiver.first(event="exceeded", **quiet)
    came_s = next(at for at, each in receiver.told if each == told)
    print(f"crossed {float(told['timestamp']) - over_s:+.3f} s, told {came_s - over_s:.3f} s after the write")
    assert over_s - 0.5 <= float(told["timestamp"]) <= came_s - HOLD_S + 0.01
    drain(server, UNREAD)
    ended = receiver.first(event="cleared", id=told["id"])
    began_s = float(ended["timestamp"]) - float(ended["duration"])
    assert abs(began_s - float(told["timestamp"])) < 0.01
    assert monitor.stop() == 0
    counters = monitor.counters()
    assert counters["delivered"] == counters["alerts"]


@pytest.mark.parametrize("days", [4000, -4000])
def test_a_corrected_date_makes_nothing_old(
    start_monitor: StartMonitor, receiver: Receiver, tmp_path: Path, days: int
) -> None:
    """As many days lie, by the date, between what an earlier monitor could not deliver and this one."""
    number, made_s = 23, time.time() - days * 86_400
    body = {"event": "exceeded", "type": "RECV", "timestamp": f"{made_s:.6f}"}
    kept = Journal(tmp_path / "journal")
    owed = [
        Owed(
            n,
            "http",
            f"{n:016x}",
            made_s,
            body_of(body | {"id": f"{n:016x}", "seq": str(n)}),
            boot=boot_id(),
            boot_s=boottime_s(),
        )
        for n in range(1, number + 1)
    ]
    kept.write(owed, [], number, number)
    kept.close()
    monitor = start_monitor(
        thresholds=thresholds(2**30), journal={"path": str(tmp_path / "journal"), "max_age": "1h"}
    )
    receiver.count(number)
    assert monitor.stop() == 0
    assert (monitor.counters()["delivered"], monitor.counters()["given_up"]) == (number, 0)
