# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Ten thousand sockets cross within a second: all are told singly, or folded, and none is lost."""

from __future__ import annotations

import re
import resource
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live.monitoring import Monitor, StartMonitor
from tests.live.receiver import Receiver, Told
from tests.live.waiting import until

SOCKETS = 10_007
THRESHOLD = 20_011
DATAGRAM = 30_011
SERVICE = 20_053
"""The port that all of them share."""

PERF_PAGES = 1024
"""Room for all events of a storm on one CPU, however late the monitor gets its turn on a busy machine."""

OURS = {"protocol": "udp", "local_port": SERVICE, "type": "RECV"}
GROWTH_MIB = 50


def memory_mib(monitor: Monitor) -> float:
    found = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{monitor.pid}/status").read_text(), re.MULTILINE)
    assert found
    return int(found[1]) / 1024


@pytest.fixture
def crowd(stack: ExitStack) -> Iterator[list[socket.socket]]:
    """Sockets of one service, each bound to an address of its own of loopback."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, SOCKETS + 4096), max(hard, SOCKETS + 4096)))
    made = []
    for number in range(SOCKETS):
        sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.bind((f"127.1.{number >> 8}.{number & 255}", SERVICE))
        made.append(sock)
    yield made
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def fill(crowd: list[socket.socket]) -> float:
    """Send each more than the threshold; return how long it took, in seconds."""
    writer = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    begun = time.monotonic()
    for sock in crowd:
        writer.sendto(bytes(DATAGRAM), sock.getsockname())
    took_s = time.monotonic() - begun
    writer.close()
    return took_s


def empty(crowd: list[socket.socket]) -> None:
    for sock in crowd:
        assert len(sock.recv(DATAGRAM)) == DATAGRAM


def stands_for(alerts: list[Told]) -> int:
    return sum(int(alert.get("count", "1")) for alert in alerts)


def assert_nothing_lost(monitor: Monitor) -> None:
    assert monitor.stop() == 0
    counts = monitor.counters()
    for loss in (
        "lost_submit",
        "lost_ring",
        "episodes_full",
        "recovered",
        "dropped",
        "given_up",
    ):
        assert counts[loss] == 0, loss


@pytest.mark.timeout(600)
def test_each_is_told(start_monitor: StartMonitor, receiver: Receiver, crowd: list[socket.socket]) -> None:
    monitor = start_monitor(
        thresholds={"send": "1GiB", "recv": THRESHOLD}, repeat="1h", kernel={"perf_pages": PERF_PAGES}
    )
    before_mib = memory_mib(monitor)
    took_s = fill(crowd)
    empty(crowd)
    most_mib = 0.0

    def arrived() -> bool:
        nonlocal most_mib
        most_mib = max(most_mib, memory_mib(monitor))
        return len(receiver.told) >= 2 * SOCKETS and len(receiver.alerts(**OURS)) >= 2 * SOCKETS

    until(arrived, lambda: f"{len(receiver.told)} of {2 * SOCKETS} alerts", 300)
    exceeded, cleared = receiver.alerts(event="exceeded", **OURS), receiver.alerts(event="cleared", **OURS)
    assert len(exceeded) == len(cleared) == SOCKETS
    assert {alert["id"] for alert in exceeded} == {alert["id"] for alert in cleared}
    assert len({alert["local_ip"] for alert in exceeded}) == SOCKETS
    assert {alert["mode"] for alert in exceeded} == {"ebpf"}
    print(
        f"{SOCKETS} crossings in {took_s:.2f} s: resident memory {before_mib:.0f} MiB before, "
        f"{most_mib:.0f} at most, {memory_mib(monitor):.0f} after"
    )
    assert most_mib - before_mib < GROWTH_MIB
    assert_nothing_lost(monitor)


@pytest.mark.timeout(600)
def test_folded_few_requests_account_for_all(
    start_monitor: StartMonitor, receiver: Receiver, crowd: list[socket.socket]
) -> None:
    monitor = start_monitor(
        thresholds={"send": "1GiB", "recv": THRESHOLD},
        repeat="1h",
        fold={"above": 3, "window": "5s"},
        kernel={"perf_pages": PERF_PAGES},
    )
    took_s = fill(crowd)
    until(lambda: stands_for(receiver.alerts(event="exceeded", **OURS)) >= SOCKETS, "all crossings told", 120)
    empty(crowd)
    until(lambda: stands_for(receiver.alerts(event="cleared", **OURS)) >= SOCKETS, "all ends told", 120)
    told = receiver.alerts(**OURS)
    assert stands_for(receiver.alerts(event="exceeded", **OURS)) == SOCKETS
    assert stands_for(receiver.alerts(event="cleared", **OURS)) == SOCKETS
    assert len(told) < 20
    folded = [alert for alert in told if "count" in alert]
    for alert in folded:
        assert not alert.keys() & {"pid", "remote_port", "local_ip"}
        assert alert["worst"]
    seqs = sorted(int(alert["seq"]) for _, alert in receiver.told)
    assert seqs == list(range(1, len(seqs) + 1))
    print(f"{SOCKETS} crossings in {took_s:.2f} s: {len(told)} requests, {len(folded)} of them folded")
    assert_nothing_lost(monitor)
