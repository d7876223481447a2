# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A threshold of 80% is of the buffer as the kernel counts it: `limit` and `fill` are what `ss -m` shows.

A TCP reader that hangs stands at about 126 000 bytes, far below any threshold in bytes that a bulk transfer may have.
"""

from __future__ import annotations

import socket
from contextlib import ExitStack, suppress

import pytest

from sockbpf.kernel.look.netns import inside
from tests.live.filling import Filled, fill_both_ends, fill_udp_receive, fill_udp_send
from tests.live.monitoring import StartMonitor, thresholds
from tests.live.network import slow_link
from tests.live.receiver import Receiver, Told
from tests.live.reloading import change
from tests.live.skmem import Memory, memory
from tests.live.sockets import FAMILIES, inode, port, tcp_pair, udp_socket
from tests.live.waiting import until

FILLED = {"send": "80%", "recv": "80%"}


def of_each_kind(stack: ExitStack) -> tuple[list[Filled], str]:
    """Return sockets of every kind with buffers that are nearly full, and the namespace of those that send UDP."""
    link = stack.enter_context(slow_link(rate="100bit"))
    filled = []
    for family in FAMILIES:
        for role in ("client", "server"):
            filled += fill_both_ends(stack, family, role)
            filled.append(fill_udp_receive(stack, family, role, 100))
            with inside(f"/run/netns/{link.sender}"):
                filled.append(fill_udp_send(stack, family, role, 90, link.far[family]))
    return filled, link.sender


@pytest.mark.timeout(120)
def test_limit_and_fill_are_those_of_ss(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    start_monitor(thresholds=FILLED, repeat="1s")
    filled, elsewhere = of_each_kind(stack)

    def latest(one: Filled) -> Told | None:
        told = receiver.alerts(
            event="ongoing", type=one.direction, protocol=one.kind[:3], local_port=port(one.sock)
        )
        return told[-1] if told else None

    until(lambda: all(map(latest, filled)), "an ongoing alert of each socket")
    equal = 0
    for one in filled:

        def at_rest(one: Filled = one) -> tuple[Memory, Told] | None:
            number = inode(one.sock)
            before = (memory() | memory(elsewhere))[number]
            receiver.told.clear()
            told = until(lambda: latest(one), "an ongoing alert")
            return (before, told) if (memory() | memory(elsewhere))[number] == before else None

        shown, told = until(at_rest, "rest")
        charged, limit = shown.of(one.direction)
        assert told["condition"] == "fill"
        assert (int(told["limit"]), int(told["fill"])) == (limit, charged * 100 // limit), one
        assert charged * 100 > limit * 80
        assert int(told["threshold"]) <= limit * 80 // 100
        assert ("state" in told) == one.kind.startswith("tcp")
        equal += 1
    print(f"{equal} sockets, limit and fill equal to ss -m")


def test_a_reader_that_hangs_is_found_by_fill(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    start_monitor(thresholds={"recv": "80%"})
    client, server = tcp_pair(stack)
    client.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            client.send(bytes(1 << 16))
    told = receiver.first(event="exceeded", local_port=port(server), type="RECV")
    assert told["condition"] == "fill"
    assert int(told["size"]) < 1 << 20
    server.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            server.recv(1 << 20)
    receiver.first(event="cleared", id=told["id"])  # what the client still held may have begun another


def charge_of_one(reader: socket.socket, writer: socket.socket) -> int:
    writer.sendto(bytes(1009), reader.getsockname()[:2])
    charged: int = until(lambda: memory()[inode(reader)].recv[0], "a datagram")
    reader.recv(2000)
    return charged


@pytest.mark.parametrize("hooks", ["auto", "none"])
def test_the_share_is_exact(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, hooks: str
) -> None:
    """As many datagrams as are 80% are none too many; one more is."""
    reader, writer = udp_socket(stack), udp_socket(stack)
    one = charge_of_one(reader, writer)
    reader.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 5 * one)  # the kernel doubles it: 8 of 10 are 80%
    settings = {"kernel": {"hooks": hooks}, "sweep": {"poll": "50ms"}} if hooks == "none" else {}
    start_monitor(thresholds={"recv": "80%"}, **settings)
    assert memory()[inode(reader)].recv[1] == 10 * one
    for _ in range(8):
        writer.sendto(bytes(1009), reader.getsockname()[:2])
    until(lambda: memory()[inode(reader)].recv[0] == 8 * one, "8 datagrams")
    other, far = udp_socket(stack), udp_socket(stack)
    for _ in range(100):
        far.sendto(bytes(1009), other.getsockname()[:2])
    receiver.first(event="exceeded", local_port=port(other))  # so all before was judged
    assert not receiver.alerts(local_port=port(reader))
    writer.sendto(bytes(1009), reader.getsockname()[:2])
    told = receiver.first(event="exceeded", local_port=port(reader))
    assert (told["fill"], told["limit"], told["threshold"]) == ("90", str(10 * one), str(8 * one))
    assert told["mode"] == ("poll" if hooks == "none" else "ebpf")
    for _ in range(9):
        reader.recv(2000)
    receiver.first(event="cleared", local_port=port(reader))


def test_the_drops_of_an_episode_are_counted(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    start_monitor(thresholds={"recv": "80%"})
    reader, writer = udp_socket(stack), udp_socket(stack)
    for _ in range(200):
        writer.sendto(bytes(1009), reader.getsockname()[:2])
    dropped = memory()[inode(reader)].drops
    assert dropped
    assert receiver.first(event="exceeded", local_port=port(reader))["drops"] == "0"
    reader.setblocking(False)
    with suppress(BlockingIOError):
        while True:
            reader.recv(2000)
    assert receiver.first(event="cleared", local_port=port(reader))["drops"] == str(dropped)


def test_a_reload_changes_from_bytes_to_a_share(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    monitor = start_monitor(thresholds=thresholds(1 << 30))
    reader, writer = udp_socket(stack), udp_socket(stack)
    for _ in range(200):
        writer.sendto(bytes(1009), reader.getsockname()[:2])
    change(monitor, thresholds=FILLED)
    assert receiver.first(event="exceeded", local_port=port(reader))["condition"] == "fill"
