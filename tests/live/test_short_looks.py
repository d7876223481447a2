# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What looks find, in short on one monitor, for stock kernels: stalls, accept queues, rates, as ss and nstat show.

Each has tests of its own beside this file.
"""

from __future__ import annotations

import os
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import pytest

from sockbpf.kernel.look.netns import inside
from tests.live.dropping import Full, nstat
from tests.live.listening import connect, knock, listener, overflows, queue
from tests.live.monitoring import launch
from tests.live.network import namespace
from tests.live.receiver import Receiver, receiving
from tests.live.skmem import memory
from tests.live.sockets import FAMILIES, inode, port
from tests.live.stalling import UNREAD, unacknowledged_tcp, unread_tcp, unread_udp
from tests.live.waiting import until, wait_until

RISING = ("UdpRcvbufErrors", "Udp6RcvbufErrors", "TcpExtListenOverflows", "TcpExtListenDrops")
BACKLOG, KNOCKS, DROPS = 7, 13, 503
SHARED_BACKLOG, FULL_ENOUGH = 13, 11
"""Connections: one more than 80 % of a backlog that is not reached."""


@dataclass
class Watch:
    """What a running monitor tells, whether it looks by BPF iterators, and a network namespace that it knows."""

    receiver: Receiver
    has_iterators: bool
    netns: str

    @property
    def place(self) -> str:
        return f"/run/netns/{self.netns}"


@pytest.fixture(scope="module")
def watch(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watch]:
    with receiving() as receiver, namespace() as netns:
        settings = {
            "stalled": {"after": "3s"},
            "listeners": {"backlog": "80%", "hold": "0s"},
            "rates": {name: {"warning": "1/m"} for name in RISING},
            "repeat": "1s",
        }
        monitor = launch(tmp_path_factory.mktemp("short") / "monitor", receiver.url, settings)
        try:
            monitor.wait_armed()
            yield Watch(receiver, "looked at by BPF iterators" in monitor.log(), netns)
        finally:
            monitor.stop()
            print(f"--- log of the monitor ---\n{monitor.log()[-20000:]}")


def test_what_stands_still_is_told_and_what_moves_is_not(watch: Watch, stack: ExitStack) -> None:
    receiver = watch.receiver
    kinds = (unread_tcp, unacknowledged_tcp, *((unread_udp,) if watch.has_iterators else ()))
    stalls = [make(stack, family) for make in kinds for family in FAMILIES]
    busy = [make(stack, "ipv4") for make in (unread_tcp, unread_udp)]
    while not all(receiver.alerts(event="ongoing", **stall.queue) for stall in stalls):
        for queue_ in busy:
            queue_.empty()
            queue_.fill()
        wait_until(time.monotonic() + 0.05)
    shown = memory()
    for stall in stalls:
        told = receiver.first(event="exceeded", **stall.queue)
        assert told["condition"] == "stalled"
        receiver.first(id=told["id"], pid=os.getpid())
        memory_of = shown[inode(stall.sock)]
        charged, limit = memory_of.of(told["type"])
        wanted = (memory_of.queues[told["type"] == "SEND"], limit, charged * 100 // limit)
        assert tuple(int(told[name]) for name in ("size", "limit", "fill")) == wanted, told
        if told["protocol"] == "tcp":
            assert (told["size"], told["state"]) == (str(UNREAD), "ESTAB")
    for queue_ in busy:
        queue_.empty()
        assert not receiver.alerts(**queue_.queue)
    for stall in stalls:
        stall.empty()
    for stall in stalls:
        receiver.first(event="cleared", condition="stalled", **stall.queue)


def test_accept_queues_and_what_they_drop(watch: Watch, stack: ExitStack) -> None:
    """In connections, as `ss -l` and `nstat` have them, by family."""
    with inside(watch.place) as netns:
        servers = [listener(stack, family, BACKLOG) for family in FAMILIES]
        for server in servers:
            connect(stack, server, BACKLOG + 1)
            knock(server, KNOCKS)
        dropped = overflows()
        shown = {port(server): queue(server) for server in servers}
    assert dropped == (KNOCKS * len(servers),) * 2
    for number, (waiting, limit) in shown.items():
        told = watch.receiver.first(type="ACCEPT", local_port=number, severity="critical", netns=netns)
        watch.receiver.first(id=told["id"], drops=KNOCKS, size=waiting, limit=limit, fill=114)
    for name, count in zip(("TcpExtListenOverflows", "TcpExtListenDrops"), dropped, strict=True):
        watch.receiver.first(type="RATE", event="ongoing", name=name, netns=netns, size=count)


def test_each_member_of_a_group_that_shares_a_port(watch: Watch, stack: ExitStack) -> None:
    one = listener(stack, backlog=SHARED_BACKLOG, shared=0)
    group = [one, listener(stack, backlog=SHARED_BACKLOG, shared=port(one))]
    while not all(waiting(member) == FULL_ENOUGH for member in group):
        stack.enter_context(socket.create_connection(one.getsockname()))
        for member in group:
            if waiting(member) > FULL_ENOUGH:
                stack.enter_context(member.accept()[0])
    name = {"type": "ACCEPT", "local_port": port(one), "size": FULL_ENOUGH, "limit": SHARED_BACKLOG}

    def told() -> set[str]:
        return {alert["id"] for alert in watch.receiver.alerts(event="ongoing", **name)}

    until(lambda: len(told()) == len(group), "an episode of each")


def waiting(server: socket.socket) -> int:
    """Return how many connections wait: the tcpi_unacked of a listener's struct tcp_info."""
    told: int = struct.unpack_from("=I", server.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 104), 24)[0]
    return told


def test_rates_of_drops(watch: Watch, stack: ExitStack) -> None:
    """Per minute, with the sockets that dropped, by family: the counts of `nstat` and of `ss -m`."""
    with inside(watch.place) as netns:
        full = [Full(stack, family) for family in FAMILIES]
    for each in full:
        each.drop(DROPS)
    shown = memory(watch.netns)
    for name, its in (("UdpRcvbufErrors", (full[0], full[2])), ("Udp6RcvbufErrors", (full[1],))):
        count = nstat(name, watch.netns)
        drops = [shown[inode(each.reader)].drops for each in its]
        assert count == sum(drops) >= DROPS * len(its)
        told = watch.receiver.first(type="RATE", event="ongoing", name=name, netns=netns, size=count)
        assert told["per"] == "minute"
        for each, dropped in zip(its, drops, strict=True):
            assert f":{port(each.reader)}={dropped}" in told["worst"]
