# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Ten thousand sockets cross within a second: all are told singly, or folded, and none is lost."""

from __future__ import annotations

import os
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
from tests.live.sockets import port, tcp_pair
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
def many_files() -> Iterator[None]:
    """Let this process have a file for each socket."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, SOCKETS + 4096), max(hard, SOCKETS + 4096)))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def crowd(stack: ExitStack, many_files: None) -> list[socket.socket]:
    """Sockets of one service, each bound to an address of its own of loopback."""
    made = []
    for number in range(SOCKETS):
        sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.bind((f"127.1.{number >> 8}.{number & 255}", SERVICE))
        made.append(sock)
    return made


@pytest.fixture(params=["remote-service", "process"])
def clients(
    stack: ExitStack, many_files: None, request: pytest.FixtureRequest
) -> tuple[str, list[socket.socket], socket.socket]:
    """Sockets of this process with ports of their own, connected to one service if that is what they share.

    Returned with what they share and the socket that can send to them.
    """
    server = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    server.bind(("127.0.0.1", SERVICE))
    made = []
    for number in range(SOCKETS):
        sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.bind((f"127.1.{number >> 8}.{number & 255}", 21_000 + number))
        if request.param == "remote-service":
            sock.connect(server.getsockname())
        made.append(sock)
    return request.param, made, server


def fill(crowd: list[socket.socket], writer: socket.socket) -> float:
    """Send each more than the threshold; return how long it took, in seconds."""
    begun = time.monotonic()
    for sock in crowd:
        writer.sendto(bytes(DATAGRAM), sock.getsockname())
    return time.monotonic() - begun


@pytest.fixture
def writer(stack: ExitStack) -> socket.socket:
    return stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))


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
def test_each_is_told(
    start_monitor: StartMonitor, receiver: Receiver, crowd: list[socket.socket], writer: socket.socket
) -> None:
    monitor = start_monitor(
        thresholds={"send": "1GiB", "recv": THRESHOLD}, repeat="1h", kernel={"perf_pages": PERF_PAGES}
    )
    before_mib = memory_mib(monitor)
    took_s = fill(crowd, writer)
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
    start_monitor: StartMonitor, receiver: Receiver, crowd: list[socket.socket], writer: socket.socket
) -> None:
    monitor = start_monitor(
        thresholds={"send": "1GiB", "recv": THRESHOLD},
        repeat="1h",
        fold={"above": 3, "window": "5s"},
        kernel={"perf_pages": PERF_PAGES},
    )
    took_s = fill(crowd, writer)
    until(lambda: stands_for(receiver.alerts(event="exceeded", **OURS)) >= SOCKETS, "all crossings told", 120)
    empty(crowd)
    until(lambda: stands_for(receiver.alerts(event="cleared", **OURS)) >= SOCKETS, "all ends told", 120)
    told = receiver.alerts(**OURS)
    assert stands_for(receiver.alerts(event="exceeded", **OURS)) == SOCKETS
    assert stands_for(receiver.alerts(event="cleared", **OURS)) == SOCKETS
    assert len(told) < 20
    folded = [alert for alert in told if "count" in alert]
    for alert in folded:
        assert alert["fold"] == "local-service"
        assert "local_ip" not in alert
        assert alert["worst"]
    print(f"{SOCKETS} crossings in {took_s:.2f} s: {len(told)} requests, {len(folded)} of them folded")
    assert_nothing_lost(monitor)
    seqs = sorted(int(alert["seq"]) for _, alert in receiver.told)  # what was under way has come too
    assert seqs == list(range(1, len(seqs) + 1))


@pytest.mark.timeout(600)
def test_clients_of_one_process_are_few_requests_and_delay_no_other(
    start_monitor: StartMonitor,
    receiver: Receiver,
    clients: tuple[str, list[socket.socket], socket.socket],
    stack: ExitStack,
    *,
    strict_times: bool,
) -> None:
    """With the folding that is the default; in the middle of the storm another queue crosses."""
    common, crowd, server = clients
    monitor = start_monitor(
        thresholds={"send": "1GiB", "recv": THRESHOLD},
        repeat="1h",
        fold={},
        kernel={"perf_pages": PERF_PAGES},
    )
    real, accepted = tcp_pair(stack)
    took_s = fill(crowd[: SOCKETS // 2], server)
    real.sendall(bytes(DATAGRAM))
    took_s += fill(crowd[SOCKETS // 2 :], server)
    is_one_service = common == "remote-service"

    def ours(**wanted: object) -> list[Told]:
        """Return the alerts about the clients; of another socket of this user only if its process is not known."""
        told = receiver.alerts(protocol="udp", type="RECV", **wanted)
        if is_one_service:
            return [alert for alert in told if alert.get("remote_port") == str(SERVICE)]
        own = str(os.getpid())
        return [
            alert for alert in told if alert.get("pid", own) == own and alert.get("fold") != "local-service"
        ]

    until(lambda: stands_for(ours(event="exceeded")) >= SOCKETS, "all crossings told", 120)
    empty(crowd)
    until(lambda: stands_for(ours(event="cleared")) >= SOCKETS, "all ends told", 120)
    told = ours()
    print({(alert["event"], alert.get("fold")): alert.get("count") for alert in told})
    if is_one_service:
        assert stands_for(ours(event="exceeded")) == stands_for(ours(event="cleared")) == SOCKETS
    folded = [alert for alert in told if "count" in alert]
    assert {alert["fold"] for alert in folded} <= {common, "user"}
    alert = receiver.first(event="exceeded", local_port=port(accepted), type="RECV")
    at = next(at for at, each in receiver.told if each == alert)
    late_s = at - float(alert["timestamp"])
    print(
        f"{SOCKETS} crossings in {took_s:.2f} s: {len(told)} requests; the other was told after {late_s:.3f} s"
    )
    # On a busy machine the search for owners does not find all in time: they are a second storm, that of their user.
    assert len(told) < (20 if is_one_service or strict_times else 40)
    assert late_s < 1 or not strict_times
    assert_nothing_lost(monitor)
