# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A look shows of each queue a number that changes when something leaves the queue, and only then.

Of TCP it moves by just so many bytes, by BPF iterators and by sock_diag alike.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from sockbpf.counters import Counters
from sockbpf.kernel.look.choice import look_of
from sockbpf.kernel.look.row import Look, Terms, Which
from sockbpf.kernel.look.sweep import Sweeper, Wanted
from sockbpf.record.event import Direction
from sockbpf.record.sweep import Reading
from tests.live.sockets import FAMILIES, deafen, drain, inode, tcp_pair, udp_socket, undeafen, unsent
from tests.live.waiting import until

WAYS = {"iterators": "auto", "sock_diag": "sock_diag"}
SEND, RECV = Direction.SEND, Direction.RECV
ROUNDS = 1009


@pytest.fixture(scope="module", params=WAYS)
def look(request: pytest.FixtureRequest) -> Iterator[Look]:
    made, reason = look_of(WAYS[request.param], "auto", Counters())
    if request.param == "iterators" and made.name == "sock_diag":
        pytest.skip(reason)
    with closing(made):
        yield made


def read(look: Look, sock: socket.socket, *, progress: bool = True) -> Reading:
    """Return what a sweep reads of a socket of this process, which the monitor would take for its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sockbpf.kernel.look.sweep.open_inodes", set)
        sweep = Sweeper(Counters(), look).sweep(Wanted(terms=Terms(Which.ALL, progress=progress)))
    (reading,) = [one for one in sweep.readings if one.socket.inode == inode(sock)]
    return reading


def moved(before: Reading, after: Reading, direction: Direction) -> int:
    return (after.left[direction] - before.left[direction]) % 2**32


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_read_and_what_is_acknowledged_is_counted(look: Look, stack: ExitStack, family: str) -> None:
    client, server = tcp_pair(stack, family)
    client.sendall(bytes(2003))
    first = read(look, server)
    assert first.sizes[RECV] == 2003
    client.sendall(bytes(997))
    until(lambda: read(look, server).sizes[RECV] == 3000, "all of it there")
    assert moved(first, read(look, server), RECV) == 0, "nothing was read"
    drain(server, 1511)
    assert moved(first, read(look, server), RECV) == 1511

    until(lambda: unsent(client) == 0, "all of it acknowledged")
    deafen(client)
    client.sendall(bytes(2011))
    stands = read(look, client)
    assert stands.sizes[SEND] == 2011
    client.sendall(bytes(503))
    assert moved(stands, read(look, client), SEND) == 0, "nothing was acknowledged"
    undeafen(client)
    until(lambda: unsent(client) == 0, "all of it acknowledged")
    deafen(client)
    client.sendall(bytes(1))
    assert moved(stands, read(look, client), SEND) == 2514


def test_a_queue_drained_and_filled_again_is_not_the_same(look: Look, stack: ExitStack) -> None:
    client, server = tcp_pair(stack)
    marks = set()
    for _ in range(31):
        client.sendall(bytes(2003))
        reading = until(lambda: (one := read(look, server)).sizes[RECV] == 2003 and one, "all of it there")
        marks.add(reading.left[RECV])
        drain(server, 2003)
    assert len(marks) == 31


def test_the_states_of_a_connection(look: Look, stack: ExitStack) -> None:
    client, server = tcp_pair(stack)
    client.sendall(b"x")
    client.shutdown(socket.SHUT_WR)
    reading = until(lambda: (one := read(look, server)).sizes[RECV] == 2 and one, "the FIN, which counts one")
    assert reading.facts_of(RECV).state == 8, "CLOSE-WAIT"


def test_without_asking_sock_diag_does_not_say(look: Look, stack: ExitStack) -> None:
    client, server = tcp_pair(stack)
    client.sendall(bytes(2003))
    assert bool(read(look, server, progress=False).left) == (look.name != "sock_diag")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_first_datagram_is_told_from_all_others(look: Look, stack: ExitStack, family: str) -> None:
    """However often the kernel uses the memory of those that were read again. With sock_diag nothing is known."""
    reader, writer = udp_socket(stack, family), udp_socket(stack, family)
    number = 0

    def send() -> None:
        nonlocal number
        number += 1
        writer.sendto(number.to_bytes(8, "big").ljust(503), reader.getsockname()[:2])

    send()
    if look.name == "sock_diag":
        assert read(look, reader).left == {}
        return
    marks = set()
    for _ in range(ROUNDS if family == "ipv4" else 31):
        mark = until(lambda: read(look, reader).left, "a datagram in the queue")[RECV]
        assert mark not in marks
        marks.add(mark)
        send()
        reader.recv(503, socket.MSG_PEEK)
        assert read(look, reader).left == {RECV: mark}, "the first is the same"
        reader.recv(503)
    reader.recv(503)
    assert read(look, reader).left == {}
