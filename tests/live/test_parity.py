# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The size reported is the number `ss` shows, to the byte, for every kind of socket.

Sockets are filled and left at rest; each `ongoing` alert is a reading, valid if `ss` shows the same before and after.
"""

from __future__ import annotations

import random
from contextlib import ExitStack

import pytest

from sockbpf.kernel.look.netns import inside
from tests.live.filling import Filled, fill_tcp, fill_udp_receive, fill_udp_send
from tests.live.monitoring import StartMonitor, thresholds
from tests.live.network import slow_link
from tests.live.receiver import Receiver
from tests.live.sockets import FAMILIES, Queues, inode, port, ss_all, tcp_pair
from tests.live.waiting import until

EACH = 6
"""Sockets of each kind: 2 x 2 x 3 x 2 kinds, 144 of them and as many `ongoing` rounds as it takes to 288 readings."""

ROUNDS = 2
NAME = ("type", "protocol", "local_ip", "local_port", "remote_port")
"""By which a socket is known here: two clients may have one local port, as may IPv4 and IPv6."""

Name = tuple[str, ...]
THRESHOLD = 5000


def name(one: Filled) -> Name:
    ip, number = one.sock.getsockname()[:2]
    try:
        remote = one.sock.getpeername()[1]
    except OSError:  # not connected
        remote = 0
    return one.direction, one.kind[:3], ip, str(number), str(remote)


@pytest.mark.timeout(120)
def test_every_kind_of_socket(start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack) -> None:
    chance = random.Random(4)
    link = stack.enter_context(slow_link(rate="100bit"))  # a packet in 80 s
    start_monitor(thresholds=thresholds(THRESHOLD), repeat="1s")
    filled: list[Filled] = []
    for family in FAMILIES:
        for role in ("client", "server"):
            for _ in range(EACH):
                size = chance.randrange(THRESHOLD + 1, 60_000)
                filled.append(fill_tcp(stack, family, role, "RECV", size))
                filled.append(fill_tcp(stack, family, role, "SEND", size))
                filled.append(fill_udp_receive(stack, family, role, chance.randrange(5, 60)))
                with inside(f"/run/netns/{link.sender}"):
                    datagrams = chance.randrange(5, 60)
                    filled.append(fill_udp_send(stack, family, role, datagrams, link.far[family]))

    def shown() -> dict[int, Queues]:
        return ss_all() | ss_all(link.sender)

    readings = 0
    kinds = set()
    for _ in range(ROUNDS):
        before, already = shown(), len(receiver.told)

        def latest(told: int = already) -> dict[Name, int]:
            return {
                tuple(alert.get(part, "0") for part in NAME): int(alert["size"])
                for _, alert in receiver.told[told:]
                if alert["event"] == "ongoing"
            }

        until(lambda: {name(one) for one in filled} <= latest().keys(), "an ongoing alert of each socket")
        reported, after = latest(), shown()
        for one in filled:
            queues = before[inode(one.sock)]
            if queues == after[inode(one.sock)]:
                assert reported[name(one)] == queues[one.column], f"{one.kind} {one.direction}"
                assert queues[one.column] > THRESHOLD
                readings += 1
                kinds.add((one.kind, one.direction))
    print(f"{readings} readings of {len(kinds)} kinds of sockets, all equal to ss")
    assert readings >= 200
    assert len(kinds) == 2 * 2 * 3 * 2


def test_the_crossing_itself(start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack) -> None:
    """One byte too many is over, and `size` is what made it so."""
    start_monitor(thresholds=thresholds(20_011))
    client, server = tcp_pair(stack)
    client.sendall(bytes(20_011))
    until(lambda: ss_all()[inode(server)][0] == 20_011, "all bytes at the reader")
    client.sendall(b"x")
    told = receiver.first(local_port=port(server), type="RECV")
    assert told["size"] == told["peak"] == "20012"
    assert told["threshold"] == "20011"
    assert [a["size"] for a in receiver.alerts(local_port=port(server))] == ["20012"]
    server.recv(1)
    assert receiver.first(event="cleared", local_port=port(server), type="RECV")["size"] == "20011"
