# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The offsets are true on this kernel: what the programs read of real sockets is what it says of them elsewhere.

Static assertions looked right once while the loads were 8 bytes off, so only values read in the kernel count:
names against getsockname, stat and /proc, sizes against SIOCINQ, SIOCOUTQ and sock_diag.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from sockbpf.counters import Counters
from sockbpf.kernel.attach.arm import arm
from sockbpf.kernel.attach.probes import Probes
from sockbpf.kernel.attach.tables import KernelLevels
from sockbpf.kernel.look.netns import inside
from sockbpf.record.event import Direction, Protocol, What
from sockbpf.settings.config import Config, Kernel
from tests.abi.armed_sockets import (
    FAMILIES,
    FILL,
    SIOCINQ,
    SIOCOUTQ,
    THRESHOLD,
    Watch,
    connected,
    drain,
    dumped,
    fill,
    identity,
    netns,
    queued,
)
from tests.live.network import slow_link
from tests.live.running import first_to_run, one_cpu, watch_the_last_leave
from tests.live.waiting import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root")

DATAGRAM, DATAGRAMS = 1009, 31
SEGMENT = 1448
"""Bytes of a full one over a veth."""


@pytest.fixture(scope="module")
def armed() -> Iterator[Probes]:
    """Attach every hook there is; an episode ends only when its queue is read as empty."""
    config = Config(url="http://127.0.0.1:9/", kernel=Kernel(perf_pages=64, max_episodes=1024))
    made = arm(config, KernelLevels(2 * (THRESHOLD,), clear=(0, 0)), Counters())
    made.demand(wanted=True)
    yield made
    made.close()


@pytest.fixture
def watch(armed: Probes) -> Watch:
    armed.read()
    return Watch(armed)


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.mark.parametrize("name", FAMILIES)
def test_who_a_tcp_socket_is(watch: Watch, stack: ExitStack, name: str) -> None:
    client, server = connected(stack, name)
    client.sendall(bytes(FILL))
    event = watch.event(What.OVER, server, Direction.RECV)
    assert event.socket == identity(server, Protocol.TCP)
    shown = FAMILIES[name][1]
    assert (event.socket.local_ip, event.socket.remote_ip) == (shown, shown)
    assert event.pid == 0  # seen in softirq: whoever ran is not the owner


def test_who_sends_by_tcp(watch: Watch, stack: ExitStack) -> None:
    client, _ = connected(stack, "v4")
    before_ns = time.monotonic_ns()
    fill(client)
    event = watch.event(What.OVER, client, Direction.SEND)
    assert event.socket == identity(client, Protocol.TCP)
    assert (event.pid, event.comm) == (os.getpid(), Path("/proc/thread-self/comm").read_text().strip())
    assert before_ns < event.since_ns == event.ns < time.monotonic_ns()
    assert event.threshold == THRESHOLD < event.since_size == event.size == event.peak


@pytest.mark.parametrize("name", FAMILIES)
def test_the_receive_queue_of_tcp_is_siocinq(watch: Watch, stack: ExitStack, name: str) -> None:
    client, server = connected(stack, name)
    client.sendall(bytes(FILL))
    watch.event(What.OVER, server, Direction.RECV)
    until(lambda: queued(server, SIOCINQ) == FILL, "all of it received")
    entry = watch.entry(server, Direction.RECV)
    assert entry
    assert (entry.size, entry.peak) == (FILL, FILL)
    left = FILL - len(server.recv(10_007))
    entry = watch.entry(server, Direction.RECV)
    assert entry
    assert queued(server, SIOCINQ) == left
    assert (entry.size, entry.peak) == (left, FILL)
    server.recv(left - 1)
    entry = watch.entry(server, Direction.RECV)
    assert entry
    assert entry.size == queued(server, SIOCINQ) == 1
    server.recv(1)
    back = watch.event(What.BACK, server, Direction.RECV)
    assert (back.size, back.peak) == (0, FILL)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_send_queue_of_tcp_is_siocoutq(watch: Watch, stack: ExitStack, name: str) -> None:
    client, server = connected(stack, name)
    fill(client)
    watch.event(What.OVER, client, Direction.SEND)

    def agree() -> bool:
        entry = watch.entry(client, Direction.SEND)
        assert entry
        return entry.size == queued(client, SIOCOUTQ) > THRESHOLD

    until(agree, "the size read in the kernel is SIOCOUTQ")
    peak = queued(client, SIOCOUTQ)
    drain(server, client)
    back = watch.event(What.BACK, client, Direction.SEND)
    assert back.size == 0
    assert back.peak >= peak


def test_what_the_last_ack_acknowledges_is_read_from_the_segment(watch: Watch, stack: ExitStack) -> None:
    """Over a slow device to a reader that does not read: no window update follows, so the arithmetic must give 0."""
    link = stack.enter_context(slow_link("2mbit"))
    with inside(f"/run/netns/{link.receiver}"):
        listener = stack.enter_context(socket.create_server(("192.0.2.2", 0)))
    with inside(f"/run/netns/{link.sender}"):
        client = stack.enter_context(socket.create_connection(listener.getsockname()))
    server = stack.enter_context(listener.accept()[0])
    stack.enter_context(one_cpu())
    with first_to_run():  # it is all there before some of it has left
        client.sendall(bytes(FILL))
    event = watch.event(What.OVER, client, Direction.SEND)
    watch_the_last_leave(client)
    back = watch.event(What.BACK, client, Direction.SEND)
    assert back.since_ns == event.since_ns < back.ns
    assert (back.size, back.peak) == (0, event.size)
    assert FILL - SEGMENT <= event.size <= FILL  # a device that has rested sends the first one at once
    assert queued(server, SIOCINQ) == FILL


@pytest.mark.parametrize("name", FAMILIES)
@pytest.mark.parametrize("is_connected", [False, True], ids=["unconnected", "connected"])
def test_who_a_udp_socket_is(watch: Watch, stack: ExitStack, name: str, *, is_connected: bool) -> None:
    family, shown, to = FAMILIES[name]
    receiver = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
    receiver.bind((shown, 0))
    os.fchown(receiver.fileno(), 1009, -1)
    sender = stack.enter_context(
        socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM)
    )
    sender.connect((to, receiver.getsockname()[1]))
    if is_connected:
        receiver.connect((shown, sender.getsockname()[1]))
    for _ in range(DATAGRAMS):
        sender.send(bytes(DATAGRAM))
    event = watch.event(What.OVER, receiver, Direction.RECV)
    assert event.socket == identity(receiver, Protocol.UDP)
    assert event.socket.local_ip == shown
    assert bool(event.socket.remote_port) is is_connected
    assert event.pid == 0


@pytest.mark.parametrize("name", FAMILIES)
def test_the_receive_queue_of_udp_is_what_sock_diag_says(watch: Watch, stack: ExitStack, name: str) -> None:
    """Its end too: bytes that were read but are still charged are subtracted, and leave exactly 0."""
    family, shown, to = FAMILIES[name]
    receiver = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
    receiver.bind((shown, 0))
    sender = stack.enter_context(
        socket.socket(socket.AF_INET6 if ":" in to else socket.AF_INET, socket.SOCK_DGRAM)
    )
    for _ in range(DATAGRAMS):
        sender.sendto(bytes(DATAGRAM), (to, receiver.getsockname()[1]))
    watch.event(What.OVER, receiver, Direction.RECV)
    peak = 0
    for _ in range(DATAGRAMS - 1):
        size = dumped(receiver, Protocol.UDP, Direction.RECV)
        entry = watch.entry(receiver, Direction.RECV)
        assert entry
        assert entry.size == size > 0
        peak = entry.peak
        receiver.recv(DATAGRAM)
    receiver.recv(DATAGRAM)
    back = watch.event(What.BACK, receiver, Direction.RECV)
    assert back.size == dumped(receiver, Protocol.UDP, Direction.RECV) == 0
    assert back.peak == peak


@pytest.mark.parametrize("address", ["192.0.2.2", "2001:db8::2"])
def test_the_send_queue_of_udp_is_what_sock_diag_says(watch: Watch, stack: ExitStack, address: str) -> None:
    """In another network namespace. Its end too: the last packet's bytes are read from it, and leave exactly 0."""
    link = stack.enter_context(slow_link("400kbit"))
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with inside(f"/run/netns/{link.sender}") as number:
        sender = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
        sender.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        sender.connect((address, 9))
        stack.enter_context(one_cpu())
        for _ in range(DATAGRAMS):
            sender.send(bytes(DATAGRAM))
        event = watch.event(What.OVER, sender, Direction.SEND)
        assert event.socket == identity(sender, Protocol.UDP)
        assert event.socket.netns == number
        assert event.pid == os.getpid()

        def agree() -> bool:
            entry = watch.entry(sender, Direction.SEND)
            return entry is not None and entry.size == dumped(sender, Protocol.UDP, Direction.SEND) > 0

        until(agree, "the size read in the kernel is sock_diag's")
        watch_the_last_leave(sender)
        assert watch.event(What.BACK, sender, Direction.SEND).size == 0
        assert dumped(sender, Protocol.UDP, Direction.SEND) == 0
    assert number != netns()
