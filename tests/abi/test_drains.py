# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The kernel says what the rule of tests/unit/drains.py says, whenever the hooks that see a drain are attached."""

from __future__ import annotations

import os
import resource
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from glob import glob
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings

from sockbpf.counters import Counters
from sockbpf.kernel.attach.arm import arm
from sockbpf.kernel.attach.probes import Probes
from sockbpf.kernel.attach.tables import KernelLevels
from sockbpf.record.event import Direction, Event, What
from sockbpf.settings.config import Config
from tests.abi.armed_sockets import SIOCINQ, SIOCOUTQ, queued
from tests.abi.draining import assert_told_apart, look, said
from tests.live.sockets import drain, tcp_pair
from tests.live.waiting import until
from tests.unit.drains import Rule, steps

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root")

THRESHOLD, CLEAR, MOST = 20_011, 10_007, 60_013
ROOM = 1 << 20
"""A receive buffer whose window never closes: many small segments are charged for more than they hold."""

BURSTS, SOCKETS = 1009, 3
DRAINS = {Direction.RECV: "TCP receive shrinks", Direction.SEND: "TCP send shrinks"}

STEPS = steps(most=40_009, threshold=THRESHOLD, clear=CLEAR)


@pytest.fixture(scope="module")
def probes() -> Iterator[Probes]:
    made = arm(Config(url="http://127.0.0.1:9/"), KernelLevels(2 * (THRESHOLD,), 2 * (CLEAR,)), Counters())
    assert set(DRAINS.values()) <= set(made.on_demand)
    yield made
    made.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def play(probes: Probes, taken: list[tuple[str, int]], client: socket.socket, server: socket.socket) -> Rule:
    """Do the same to a real receive queue and to the rule."""
    rule = Rule(THRESHOLD, CLEAR)
    for step, size in taken:
        if step == "grow" and rule.size + size <= MOST:
            client.sendall(bytes(size))
            rule.grow(size)
            until(lambda: queued(server, SIOCINQ) == rule.size, "all of it received")
        elif step == "drain":
            off = min(size, rule.size)
            drain(server, off)
            rule.drain(off)
        elif step == "look":
            look(probes)
            rule.look()
        elif step in ("attach", "detach"):
            rule.attached = step == "attach"
            assert probes.demand([DRAINS[Direction.RECV]], wanted=rule.attached)
    return rule


@settings(max_examples=101, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(taken=STEPS)
def test_a_receive_queue_follows_the_rule(probes: Probes, taken: list[tuple[str, int]]) -> None:
    probes.demand(wanted=False)
    with ExitStack() as stack:
        client, server = tcp_pair(stack, rcvbuf=ROOM)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        rule = play(probes, [*taken, ("look", 0)], client, server)
        assert said(probes, server, Direction.RECV) == rule.said


def test_received_bursts_are_told_apart_without_the_hooks_of_drains(probes: Probes, stack: ExitStack) -> None:
    probes.demand(wanted=False)
    client, server = tcp_pair(stack)
    found = []
    for _ in range(BURSTS):
        client.sendall(bytes(THRESHOLD + 1))
        until(lambda: queued(server, SIOCINQ) == THRESHOLD + 1, "all of it received")
        drain(server, THRESHOLD + 1)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        found += said(probes, server, Direction.RECV)
    look(probes)
    assert found + said(probes, server, Direction.RECV) == [What.OVER, What.BACK] * BURSTS


def test_sent_bursts_are_told_apart_without_the_hooks_of_drains(probes: Probes, stack: ExitStack) -> None:
    probes.demand(wanted=False)
    client, server = tcp_pair(stack, rcvbuf=8192)
    client.setblocking(False)
    found = []
    for _ in range(BURSTS):
        drain(server, client.send(bytes(100_003)))
        until(lambda: queued(client, SIOCOUTQ) == 0, "everything acknowledged")
        found += said(probes, client, Direction.SEND)
    look(probes)
    assert found + said(probes, client, Direction.SEND) == [What.OVER, What.BACK] * BURSTS


def test_bursts_are_told_apart_while_hooks_come_and_go_and_are_looked_for(
    probes: Probes, stack: ExitStack
) -> None:
    """Several sockets at once, and what user space does at any moment of theirs."""
    probes.demand(wanted=False)
    pairs = [tcp_pair(stack) for _ in range(SOCKETS)]
    begun = threading.Barrier(SOCKETS + 1)

    def cross(client: socket.socket, server: socket.socket) -> None:
        begun.wait()
        for _ in range(BURSTS):
            client.sendall(bytes(THRESHOLD + 1))
            until(lambda: queued(server, SIOCINQ) == THRESHOLD + 1, "all of it received")
            drain(server, THRESHOLD + 1)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)

    threads = [threading.Thread(target=cross, args=pair) for pair in pairs]
    for thread in threads:
        thread.start()
    begun.wait()
    events: list[Event] = []
    rounds = 0
    while any(thread.is_alive() for thread in threads):
        probes.demand([DRAINS[Direction.RECV]], wanted=rounds % 2 == 0)
        assert probes.end_drained()
        events += probes.read()
        rounds += 1
    look(probes)
    events += probes.read()
    for _, server in pairs:
        assert_told_apart(events, server, BURSTS)
    assert probes.tables.tally().lost == 0
    print(f"{rounds} rounds")


@pytest.mark.parametrize("direction", DRAINS)
def test_the_look_ends_nothing_that_is_over_or_was_just_judged(
    probes: Probes, stack: ExitStack, direction: Direction
) -> None:
    probes.demand(wanted=False)
    client, server = tcp_pair(stack, rcvbuf=65_536 if direction is Direction.RECV else 8192)
    client.setblocking(False)
    sock = server if direction is Direction.RECV else client
    sent = client.send(bytes(30_011 if direction is Direction.RECV else 100_003))
    events = until(lambda: said(probes, sock, direction), "the beginning")
    look(probes)
    assert (events, said(probes, sock, direction)) == ([What.OVER], [])
    drain(server, sent)
    until(lambda: queued(client, SIOCOUTQ) == 0, "everything acknowledged")
    assert said(probes, sock, direction) == [], "nobody saw it drain"
    look(probes)
    assert said(probes, sock, direction) == [What.BACK]
    look(probes)
    assert said(probes, sock, direction) == []


def held() -> list[str]:
    """Return what this process has open of the kernel's programs, maps and events."""
    return [of for each in glob("/proc/self/fd/*") if (of := link_of(each)).startswith("anon_inode:")]


def link_of(path: str) -> str:
    """Return what it leads to; nothing if it was closed meanwhile."""
    try:
        return os.readlink(path)
    except FileNotFoundError:
        return ""


def test_hooks_that_come_and_go_leave_nothing_open(probes: Probes) -> None:
    probes.demand(wanted=False)
    before, took_s = held(), []
    for _ in range(101):
        begun_s = time.monotonic()
        assert probes.demand(wanted=True)
        took_s.append(time.monotonic() - begun_s)
        assert len(held()) > len(before)
        probes.demand(wanted=False)
    assert sorted(held()) == sorted(before)
    print(f"attached in {sorted(took_s)[50] * 1e3:.2f} ms, at most {max(took_s) * 1e3:.1f} ms")


def test_hooks_for_which_there_is_no_descriptor_are_refused_and_come_later(
    probes: Probes, caplog: pytest.LogCaptureFixture
) -> None:
    probes.demand(wanted=False)
    with Path("/dev/null").open() as free:
        lowest = free.fileno()
    _, hard = before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, hard))
    try:
        assert not probes.demand(wanted=True)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert "drains are seen by looks alone" in caplog.text
    assert "Too many open files" in caplog.text
    assert probes.demand(wanted=True)
