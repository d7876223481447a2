# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which socket is the same as one before, and which is another."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sockbpf.judge.policy import identity
from sockbpf.record.alert import CLEARED, EXCEEDED, socket_of
from sockbpf.record.event import Protocol, Socket
from tests.unit.policies import (
    CLEAR,
    NETNS,
    SEND,
    TCP,
    UDP,
    Kernel,
    S,
    assert_forgotten,
    back,
    counted,
    over,
    policy,
    sweep,
    words,
)

# who a socket is


def test_a_tcp_orphan_is_found_without_its_inode() -> None:
    rules, kernel = policy(), Kernel((17, SEND))
    rules.on_event(over(5 * S, direction=SEND))
    orphan = replace(TCP, inode=0)
    for begun_ns in (6, 7, 8):
        assert rules.on_sweep(sweep(begun_ns * S, (orphan, 2003, 0)), kernel.reap) == []
    assert words(rules.on_sweep(sweep(9 * S, (orphan, CLEAR, 0)), kernel.reap)) == [CLEARED]
    assert counted(rules) == {"ended_by_sweep": 1}


def test_the_inode_of_a_socket_accepted_late_is_learned_from_a_sweep() -> None:
    rules = policy(owner_of=lambda inode: (4001, "server") if inode == TCP.inode else (0, ""))
    (begun,) = rules.on_event(over(5 * S, socket=replace(TCP, inode=0)))
    assert rules.on_sweep(sweep(6 * S, (TCP, 0, 2003)), Kernel().reap) == []
    (ended,) = rules.on_event(back(5 * S, 7 * S, socket=replace(TCP, inode=0)))
    assert [(socket_of(n).inode, n.pid) for n in (begun, ended)] == [(0, 0), (TCP.inode, 4001)]
    assert_forgotten(rules)


def test_a_udp_socket_connected_later_is_the_same() -> None:
    rules = policy()
    rules.on_event(over(5 * S, socket=UDP))
    connected = replace(UDP, local_ip="192.0.2.1", remote_ip="192.0.2.9", remote_port=4099)
    for begun_ns in (6, 7, 8):
        assert rules.on_sweep(sweep(begun_ns * S, (connected, 0, 2003)), Kernel().reap) == []
    assert counted(rules) == {}


def test_udp_sockets_that_share_an_address_are_told_apart() -> None:
    rules = policy()
    twin = replace(UDP, inode=UDP.inode + 2)
    notices = rules.on_sweep(sweep(5 * S, (UDP, 0, 2003), (twin, 0, 3001)), Kernel().reap)
    assert [(n.event, socket_of(n).inode, n.size) for n in notices] == [
        (EXCEEDED, UDP.inode, 2003), (EXCEEDED, twin.inode, 3001),
    ]  # fmt: skip
    ended = rules.on_sweep(sweep(6 * S, (UDP, 0, 2003), (twin, 0, 0)), Kernel().reap)
    assert [(n.event, socket_of(n).inode) for n in ended] == [(CLEARED, twin.inode)]


@pytest.mark.parametrize(
    "other",
    [
        replace(TCP, netns=NETNS + 1),
        replace(TCP, remote_port=40011),
        replace(TCP, protocol=Protocol.UDP),
        replace(TCP, local_ip="::ffff:192.0.2.1"),
    ],
    ids=["netns", "port", "protocol", "v4-mapped"],
)
def test_other_sockets_are_others(other: Socket) -> None:
    assert identity(other) != identity(TCP)
