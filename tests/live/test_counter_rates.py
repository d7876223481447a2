# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Counters of network namespaces against the kernel: told as `nstat` counts, with the socket that dropped."""

from __future__ import annotations

import os
import socket
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from sockbpf.kernel.look.netns import inside
from tests.live.dropping import Full, nstat
from tests.live.monitoring import Monitor, StartMonitor
from tests.live.network import namespace
from tests.live.receiver import Receiver
from tests.live.reloading import change, hang_up
from tests.live.sockets import FAMILIES, port
from tests.live.waiting import until, wait_until

DROPS = "UdpRcvbufErrors"
LIMITS = {DROPS: {"warning": "1/s", "critical": "100000/s"}}

BURSTS, MOST_BURSTS = 3, 11


def place_of(name: str) -> str:
    return f"/run/netns/{name}"


def number_of(name: str) -> int:
    return Path(place_of(name)).stat().st_ino


def threads(monitor: Monitor) -> int:
    return len(list(Path(f"/proc/{monitor.pid}/task").iterdir()))


def looked(seconds: float = 3) -> None:
    """Wait for two looks, which come each second."""
    wait_until(time.monotonic() + seconds)


@pytest.fixture
def own(stack: ExitStack) -> str:
    """Return a network namespace in which nothing else happens."""
    return stack.enter_context(namespace())


@pytest.mark.parametrize("family", FAMILIES)
def test_drops_are_told_as_nstat_counts_them_with_the_socket_and_its_owner(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, own: str, family: str
) -> None:
    with inside(place_of(own)):
        full = Full(stack, family)
    name = "Udp6RcvbufErrors" if family == "ipv6" else DROPS
    before = nstat(name, own)
    start_monitor(rates={name: {"warning": "1/s", "critical": "100000/s"}})
    looked()
    full.drop(503)
    told = receiver.first(type="RATE", event="exceeded", name=name, netns=number_of(own))
    looked()
    rose = nstat(name, own) - before
    assert rose == 503
    # A look can come between two of the datagrams: then it is told with the first of them, and the highest is later.
    assert int(told["size"]) <= rose
    ended = receiver.first(type="RATE", event="cleared", id=told["id"])
    address = {"ipv4": "127.0.0.1", "ipv6": "[::1]", "mapped": "[::ffff:127.0.0.1]"}[family]
    assert ended["worst"] == f"{address}:{port(full.reader)}={rose}"
    receiver.first(id=told["id"], pid=os.getpid(), comm=Path("/proc/self/comm").read_text().strip())
    assert (told["condition"], told["severity"], told["protocol"], told["per"]) == (
        "rate",
        "warning",
        "udp",
        "second",
    )
    assert "local_port" not in told
    assert ended["size"] == "0"


def test_a_burst_between_two_looks_has_the_size_that_nstat_shows(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, own: str
) -> None:
    with inside(place_of(own)):
        full = Full(stack)
    start_monitor(rates=LIMITS, repeat="1s")
    looked()
    before, bursts = nstat(DROPS, own), 0
    # A look may come between the datagrams of one, or late, and is then of more than a second: hardly of each.
    while bursts < BURSTS or not receiver.alerts(type="RATE", netns=number_of(own), peak=53):
        assert bursts < MOST_BURSTS
        full.drop(53)
        bursts += 1
        looked()
    rose = nstat(DROPS, own) - before
    ended = receiver.first(type="RATE", event="cleared", netns=number_of(own))
    assert rose == 53 * bursts
    assert ended["peak"] == "53"
    assert ended["worst"] == f"127.0.0.1:{port(full.reader)}={rose}"


def test_a_full_listener_is_told(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, own: str
) -> None:
    name = "TcpExtListenOverflows"
    with inside(place_of(own)):
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=1))
        clients = [stack.enter_context(socket.socket()) for _ in range(7)]
    start_monitor(rates={name: {"warning": "1/m"}})
    looked()
    for client in clients:
        client.setblocking(False)
        with suppress(BlockingIOError):
            client.connect(listener.getsockname())
    told = receiver.first(type="RATE", event="exceeded", name=name, netns=number_of(own))
    assert (told["protocol"], told["per"], told["threshold"]) == ("tcp", "minute", "1")
    assert 1 < int(told["size"]) <= nstat(name, own)


def test_a_critical_rate_is_told_apart_and_both_end(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, own: str
) -> None:
    with inside(place_of(own)):
        full = Full(stack)
    start_monitor(rates={DROPS: {"warning": "1/s", "critical": "100/s"}})
    looked()
    here = {"type": "RATE", "netns": number_of(own)}
    full.drop(13)
    warning = receiver.first(event="exceeded", severity="warning", **here)
    full.drop(1009)
    critical = receiver.first(event="exceeded", severity="critical", **here)
    assert (critical["threshold"], warning["threshold"]) == ("100", "1")
    assert critical["id"] != warning["id"]
    for begun in (warning, critical):
        receiver.first(event="cleared", id=begun["id"], severity=begun["severity"])


def test_other_namespaces_are_not_told_and_a_namespace_that_goes_ends_its_episode(
    start_monitor: StartMonitor, receiver: Receiver
) -> None:
    with ExitStack() as inner:
        name, quiet = inner.enter_context(namespace()), inner.enter_context(namespace())
        with inside(place_of(name)):
            full = Full(inner)
        number, other = number_of(name), number_of(quiet)
        start_monitor(rates=LIMITS, clear_ratio=0.5)
        looked()
        full.drop(101)
        told = receiver.first(type="RATE", event="exceeded", netns=number)
    receiver.first(event="cleared", id=told["id"])
    assert not receiver.alerts(type="RATE", netns=other)


def test_without_rates_there_is_no_thread_and_a_reload_begins_and_ends_it(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, own: str
) -> None:
    with inside(place_of(own)):
        full = Full(stack)
    monitor = start_monitor(rates={})
    without = threads(monitor)
    here = {"type": "RATE", "netns": number_of(own)}
    change(monitor, rates=LIMITS)
    until(lambda: threads(monitor) == without + 1, "the thread")
    looked()
    full.drop(31)
    told = receiver.first(event="exceeded", **here)
    change(monitor, rates={})
    ended = receiver.first(event="cleared", **here)
    assert ended["id"] == told["id"]
    until(lambda: threads(monitor) == without, "the end of the thread")
    hang_up(monitor)
    full.drop(31)
    assert len(receiver.alerts(event="exceeded", **here)) == 1


def test_a_counter_that_this_kernel_does_not_have_is_a_warning_in_the_log(
    start_monitor: StartMonitor,
) -> None:
    monitor = start_monitor(rates={"UdpRcvbufErrrors": {"warning": "1/s"}})
    said = "this kernel has no such counter; similar ones: UdpRcvbufErrors"
    until(lambda: said in monitor.log(), "the warning")
