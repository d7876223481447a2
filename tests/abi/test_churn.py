# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""An hour of queues that go over and come back: hooks on demand come and go seldom, and nothing of them is left."""

from __future__ import annotations

import itertools
import json
import os
import random
import resource
import socket
import subprocess
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from sockbpf.counters import Counters
from sockbpf.kernel.attach.arm import arm
from sockbpf.kernel.attach.probes import Probes
from sockbpf.kernel.attach.tables import KernelLevels
from sockbpf.monitor.demand import KEPT_S, QUEUES, Demand, Queues
from sockbpf.record.event import Direction, Protocol
from sockbpf.settings.config import Config
from tests.abi.armed_sockets import SIOCINQ, SIOCOUTQ, inode, queued
from tests.abi.draining import look
from tests.live.bpf import bpf_ids
from tests.live.sockets import drain, tcp_pair, udp_socket
from tests.live.waiting import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root")

HOUR_S, WARM_S = 3600, 900
GROWTH_BYTES = 1 << 20
"""How much more memory the hour may take after its first quarter: pages that Python takes and keeps."""

THRESHOLD = 20_011
RECEIVED, SENT, CORKED = 30_011, 100_003, 20_011
"""Bytes of an episode; a datagram that is not complete is counted with the kernel's own part of it."""

LEAST = 13
"""So often each group of hooks comes and goes at the least."""

OPEN_S, APART_S = 7, 89
"""How long an episode is open, and the time between two of them, on average: often longer than hooks are kept."""


@dataclass
class Tide:
    """One real queue that goes over and comes back at random instants of the test's own clock."""

    sock: socket.socket
    fill: Callable[[], object]
    empty: Callable[[], object]
    is_over: bool = False
    due_s: float = 0

    def turn(self, now_s: float, dice: random.Random) -> None:
        """Do what is due by now; several episodes may come and go at once."""
        while now_s >= self.due_s:
            self.is_over = not self.is_over
            (self.fill if self.is_over else self.empty)()
            self.due_s += dice.expovariate(1 / (OPEN_S if self.is_over else APART_S))

    def end(self) -> None:
        """Have it come back if it is over."""
        if self.is_over:
            self.empty()


def tides(stack: ExitStack) -> dict[Queues, Tide]:
    """Return a queue of each kind for which there are hooks on demand."""
    client, server = tcp_pair(stack)
    writer, reader = tcp_pair(stack, rcvbuf=8192)
    writer.setblocking(False)
    sent = 0

    def send() -> None:
        nonlocal sent
        sent = writer.send(bytes(SENT))

    def acknowledge() -> None:
        drain(reader, sent)
        until(lambda: queued(writer, SIOCOUTQ) == 0, "everything acknowledged")

    def receive() -> None:
        client.sendall(bytes(RECEIVED))
        until(lambda: queued(server, SIOCINQ) == RECEIVED, "all of it received")

    sink, udp = udp_socket(stack), udp_socket(stack)
    udp.connect(sink.getsockname())

    def uncork() -> None:
        udp.send(b"")
        sink.recv(CORKED)

    full, sender = udp_socket(stack), udp_socket(stack)
    sender.connect(full.getsockname())

    return {
        (Protocol.TCP, Direction.SEND): Tide(writer, send, acknowledge),
        (Protocol.TCP, Direction.RECV): Tide(server, receive, lambda: drain(server, RECEIVED)),
        (Protocol.UDP, Direction.SEND): Tide(udp, lambda: udp.send(bytes(CORKED), socket.MSG_MORE), uncork),
        (Protocol.UDP, Direction.RECV): Tide(
            full, lambda: sender.send(bytes(RECEIVED)), lambda: full.recv(RECEIVED)
        ),
    }


@dataclass
class Switched:
    """Switches one group of hooks, and keeps when it did, by the test's own clock."""

    probes: Probes
    thing: str
    now_s: float = 0
    attached_s: list[float] = field(default_factory=list)
    detached_s: list[float] = field(default_factory=list)

    def __call__(self, wanted: bool) -> bool:
        (self.attached_s if wanted else self.detached_s).append(self.now_s)
        return self.probes.demand((self.thing,), wanted=wanted)

    def assert_seldom(self) -> None:
        """Assert that they came and went often enough to show something, and at most once a minute."""
        print(f"{self.thing}: attached {len(self.attached_s)} times, detached {len(self.detached_s)} times")
        assert len(self.attached_s) == len(self.detached_s) > LEAST
        for instants_s in (self.attached_s, self.detached_s):
            apart_s = [later - earlier for earlier, later in itertools.pairwise(instants_s)]
            assert min(apart_s) >= KEPT_S == 60


@dataclass(frozen=True)
class Held:
    """What this process holds of the kernel, and its memory."""

    descriptors: int
    programs: frozenset[int]
    links: int
    """Attached programs of this process, by bpftool."""
    resident_bytes: int

    @classmethod
    def now(cls) -> Held:
        programs = bpf_ids(os.getpid(), "prog_id")
        shown = subprocess.run(["bpftool", "-j", "link", "show"], capture_output=True, check=True)
        links = sum(link.get("prog_id") in programs for link in json.loads(shown.stdout))
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return cls(
            len(os.listdir("/proc/self/fd")), frozenset(programs), links, pages * resource.getpagesize()
        )


@dataclass
class Churn:
    """What the monitor's loop does with hooks on demand, for the queues of this test alone."""

    probes: Probes
    queues: dict[Queues, Tide]
    switches: list[Switched]

    def __post_init__(self) -> None:
        self._inodes = {inode(tide.sock) for tide in self.queues.values()}
        self._demands = [Demand(QUEUES[switch.thing], switch) for switch in self.switches]

    def second(self, now_s: float) -> None:
        """Give what the kernel says at this instant to what decides about hooks on demand."""
        for switch in self.switches:
            switch.now_s = now_s
        events = [event for event in self.probes.read() if event.socket.inode in self._inodes]
        attached = [demand.on_event(event, now_s) for event in events for demand in self._demands]
        entries = self.probes.tables.open_episodes()
        over = {(e.socket.protocol, e.direction) for e in entries if e.socket.inode in self._inodes}
        attached += [demand.rest(over, now_s) for demand in self._demands]
        if any(attached):
            look(self.probes)


@pytest.fixture
def probes() -> Iterator[Probes]:
    levels = KernelLevels(2 * (THRESHOLD,), 2 * (THRESHOLD,))
    made = arm(Config(url="http://127.0.0.1:9/"), levels, Counters())
    yield made
    made.close()


def test_an_hour_of_churn(probes: Probes) -> None:
    dice = random.Random(1009)
    with ExitStack() as stack:
        queues = tides(stack)
        switches = [Switched(probes, thing) for thing in probes.on_demand]
        churn = Churn(probes, queues, switches)
        begun = warm = Held.now()
        for now_s in range(HOUR_S):
            for tide in queues.values():
                tide.turn(now_s, dice)
            churn.second(now_s)
            if now_s == WARM_S:
                warm = Held.now()
        for tide in queues.values():
            tide.end()
        for now_s in range(HOUR_S, HOUR_S + 2 * KEPT_S):
            churn.second(now_s)
        ended = Held.now()
    for switch in switches:
        switch.assert_seldom()
    print(f"memory grew by {ended.resident_bytes - warm.resident_bytes} bytes")
    assert ended.resident_bytes - warm.resident_bytes < GROWTH_BYTES
    assert replace(ended, resident_bytes=0) == replace(begun, resident_bytes=0)
