# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Looks for the metrics: of which service a socket is, how often looks are taken, and when one fails."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import pytest

from sockbpf.counters import Counters
from sockbpf.judge import drops
from sockbpf.judge.services import Key, Sums
from sockbpf.kernel.look.glance import Glance
from sockbpf.kernel.look.packed import Handed, handed_rows
from sockbpf.kernel.look.row import Detail, Row
from sockbpf.kernel.look.sock_diag import LISTEN
from sockbpf.monitor import service_looks
from sockbpf.monitor.service_looks import ServiceLooks
from sockbpf.record.event import Direction, Protocol

NETNS = 7
PATHS = {11: "/system.slice/web.service", 12: f"/machine.slice/docker-{'0' * 64}.scope"}
EPHEMERAL_PORT = 40_001


def a_row(port: int, cgroup: int = 0, *, recv: int = 0, send: int = 0, state: int = 1, inode: int = 1) -> Row:
    detail = Detail(1, 0, cgroup, state, 10_000, recv, 10_000, send, 0, NETNS)
    ends = (port.to_bytes(2, "big"), b"\0\x50", b"\x7f\0\0\1", b"\x7f\0\0\1")
    return Row(2, *ends, recv, send, inode, 0, detail=detail)


@dataclass
class Host:
    """Whose sockets are looked at; `waiting` looks are those that were asked for."""

    tcp: list[Row] = field(default_factory=list)
    udp: list[Row] = field(default_factory=list)
    listeners: list[Row] = field(default_factory=list)
    fault: Exception | None = None
    missed: list[str] = field(default_factory=list)
    left_out: int = 0
    waiting: list[Callable[[Callable[[], None]], None]] = field(default_factory=list)

    def glance(self, *_: object, **__: object) -> Glance:
        if self.fault:
            raise self.fault
        handed: list[tuple[int, Protocol, Handed]] = [
            (NETNS, Protocol.TCP, handed_rows(self.tcp)),
            (NETNS, Protocol.UDP, handed_rows(self.udp)),
        ]
        return Glance(handed, [(NETNS, row) for row in self.listeners], self.missed, self.left_out)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> Host:
    made = Host()
    monkeypatch.setattr(service_looks, "glance", made.glance)
    return made


@pytest.fixture
def looks(host: Host, monkeypatch: pytest.MonkeyPatch) -> ServiceLooks:
    made = ServiceLooks(None, (), host.waiting.append, Counters())  # type: ignore[arg-type]
    monkeypatch.setattr(made._cgroups, "path", PATHS.get)
    return made


def beat() -> None:
    pass


def looked(looks: ServiceLooks, host: Host) -> dict[Key, Sums]:
    done = looks.begin()
    host.waiting.pop()(beat)
    assert done.done()
    latest = looks.latest()
    assert latest
    return dict(latest[0])


def test_a_socket_is_of_its_unit_else_of_the_port_that_somebody_listens_on(
    host: Host, looks: ServiceLooks
) -> None:
    host.listeners = [a_row(80, 11, state=LISTEN), a_row(81, state=LISTEN), a_row(82, 12, state=LISTEN)]
    host.tcp = [
        a_row(80, 11, recv=1), a_row(EPHEMERAL_PORT, 11, send=2),  # the unit's, server and client
        a_row(80, recv=4),  # of a look that shows no cgroup: the listener's
        a_row(81, recv=8), a_row(82, 12, recv=16),  # nobody's unit, and a container's: by the port
        a_row(EPHEMERAL_PORT, recv=32), a_row(EPHEMERAL_PORT, 12, recv=64),
    ]  # fmt: skip
    host.udp = [a_row(53, recv=128), a_row(EPHEMERAL_PORT, recv=256)]
    sizes = {
        (protocol.name, direction.name, service): sums.size
        for (protocol, direction, service), sums in looked(looks, host).items()
        if direction is not Direction.ACCEPT
    }
    assert sizes == {
        ("TCP", "RECV", "web.service"): 5, ("TCP", "SEND", "web.service"): 2,
        ("TCP", "RECV", "81"): 8, ("TCP", "RECV", "82"): 16,
        ("TCP", "RECV", "other"): 32, ("TCP", "RECV", "docker-*.scope"): 64,
        ("UDP", "RECV", "53"): 128, ("UDP", "RECV", "other"): 256,
    }  # fmt: skip


def test_an_accept_queue_is_counted_in_connections(host: Host, looks: ServiceLooks) -> None:
    row = a_row(80, 11, recv=6, send=5, state=LISTEN)
    assert row.detail
    host.listeners = [row, a_row(80, 11, recv=1, send=5, state=LISTEN, inode=2)]
    key = (Protocol.TCP, Direction.ACCEPT, "web.service")
    assert looked(looks, host)[key] == Sums(7, 10, 2, 1.2, largest=6)
    host.listeners[0] = replace(row, detail=replace(row.detail, drops=4))
    looks._next_s = 0
    assert looked(looks, host)[key].drops == 4


@pytest.mark.parametrize("unseen", [{"missed": ["listeners cannot be listed"]}, {"left_out": 1}])
def test_a_listener_that_no_look_could_see_counts_no_history(
    host: Host, looks: ServiceLooks, unseen: dict[str, object]
) -> None:
    key = (Protocol.TCP, Direction.ACCEPT, "web.service")
    row = a_row(80, 11, recv=6, send=5, state=LISTEN)
    assert row.detail
    for name, value in unseen.items():
        setattr(host, name, value)
    looked(looks, host)
    host.missed, host.left_out = [], 0
    for dropped, shown in ((1_000_000, 0), (1_000_003, 3)):
        host.listeners = [replace(row, detail=replace(row.detail, drops=dropped))]
        looks._next_s = 0
        assert looked(looks, host)[key].drops == shown


def test_datagrams_of_a_crowd_hide_no_drops_of_a_listener(
    host: Host, looks: ServiceLooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drops, "MOST", 5)
    monkeypatch.setattr(drops, "MOST_OF_A_USER", 5)
    key = (Protocol.TCP, Direction.ACCEPT, "web.service")
    row = a_row(80, 11, recv=6, send=5, state=LISTEN, inode=100)
    assert row.detail
    crowd = [a_row(53, recv=1, inode=number) for number in range(1, 9)]
    shown = []
    for dropped, host.udp in ((1_000_000, []), (1_000_002, crowd), (1_000_005, crowd), (1_000_009, [])):
        host.listeners = [replace(row, detail=replace(row.detail, drops=dropped))]
        looks._next_s = 0
        shown.append(looked(looks, host)[key].drops)
    assert shown == [0, 2, 5, 9]
    assert looks._counters.snapshot()["drops_uncounted"] == 6


def test_one_look_is_taken_however_often_it_is_asked_for(host: Host, looks: ServiceLooks) -> None:
    assert looks.latest() is None
    begun = looks.begin()
    assert looks.begin() is begun
    assert len(host.waiting) == 1
    host.waiting.pop()(beat)
    assert looks.begin() is begun, "it is fresh"
    assert not host.waiting
    looks._next_s = 0
    assert looks.begin() is not begun


def test_a_look_that_fails_is_counted_and_leaves_what_was_seen(
    host: Host, looks: ServiceLooks, monkeypatch: pytest.MonkeyPatch
) -> None:
    host.tcp = [a_row(EPHEMERAL_PORT, 11, recv=5)]
    seen = looked(looks, host)
    looks._next_s, host.fault = 0, OSError(24, "Too many open files")
    assert looked(looks, host) == seen
    assert looks._counters.snapshot()["service_looks_failed"] == 1
    monkeypatch.setattr(service_looks, "OLD_S", 0)
    looks._next_s = looks._seen_s
    assert looks.latest() is None
    host.fault, host.missed = None, ["UDP sockets cannot be listed"]
    assert looked(looks, host) == seen
    assert looks._counters.snapshot()["service_looks_failed"] == 2


def test_what_becomes_of_a_look_elsewhere_makes_it_no_older(host: Host, looks: ServiceLooks) -> None:
    def fails(_: object) -> None:
        raise ValueError

    host.tcp, looks.on_seen = [a_row(EPHEMERAL_PORT, 11, recv=5)], fails
    assert len(looked(looks, host)) == 1
