# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Open episodes are counted by place, exactly: whoever opens, ends or deletes them, on however many processors.

A count that is too low would hide a queue's drain; one that is too high would stay for good.
"""

from __future__ import annotations

import os
import socket
import struct
import threading
from collections import Counter as Count
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import pytest

from sockbpf.counters import Counters
from sockbpf.kernel.attach.arm import arm
from sockbpf.kernel.attach.maps import entries, keys
from sockbpf.kernel.attach.probes import Probes
from sockbpf.kernel.attach.tables import KEY, NUMBER, KernelLevels, place_of
from sockbpf.record.event import Direction, Event, What
from sockbpf.settings.config import Config
from tests.live.sockets import drain, inode, tcp_pair, udp_socket
from tests.live.waiting import until

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root")

THRESHOLD, UNREAD = 20_011, 30_011
ROUNDS, PAIRS = 2003, 3


@pytest.fixture
def probes() -> Iterator[Probes]:
    config = Config(url="http://127.0.0.1:9/")
    made = arm(config, KernelLevels((2**32 - 1, THRESHOLD), (2**32 - 1, THRESHOLD)), Counters())
    made.demand(wanted=True)
    yield made
    made.close()


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


def about(probes: Probes, sock: socket.socket) -> list[Event]:
    return [event for event in probes.read() if event.socket.inode == inode(sock)]


def numbers(probes: Probes, name: str) -> dict[bytes, int]:
    """Return what is not 0 of `held` or `reaped`, by place."""
    table = probes.tables._tables[name]
    found = {place: NUMBER.unpack(value)[0] for place, value in entries(table)}
    return {place: number for place, number in found.items() if number}


def counted_and_open(probes: Probes) -> tuple[dict[bytes, int], dict[bytes, int]]:
    """Return the open episodes by place: as counted there, and as they stand in the table."""
    held, reaped = Count(numbers(probes, "held")), Count(numbers(probes, "reaped"))
    held.subtract(reaped)
    stand = Count(place_of(KEY.unpack(key)[0]) for key in keys(probes.tables._tables["episodes"]))
    return {place: number for place, number in held.items() if number}, dict(stand)


def test_an_episode_is_counted_from_its_beginning_to_its_end(probes: Probes, stack: ExitStack) -> None:
    client, server = tcp_pair(stack)
    client.sendall(bytes(UNREAD))
    (begun,) = until(lambda: about(probes, server), "the crossing")
    assert probes.tables.counted_open(begun.address) == 1
    drain(server, UNREAD)
    assert [event.what for event in about(probes, server)] == [What.BACK]
    assert probes.tables.counted_open(begun.address) == 0


def test_an_episode_that_user_space_deleted_is_counted_off_and_the_next_is_seen(
    probes: Probes, stack: ExitStack
) -> None:
    client, server = tcp_pair(stack)
    for _ in range(3):
        client.sendall(bytes(UNREAD))
        (begun,) = until(lambda: about(probes, server), "the crossing")
        assert probes.tables.reap(begun.address, Direction.RECV)
        assert probes.tables.counted_open(begun.address) == 0
        drain(server, UNREAD)
        assert about(probes, server) == [], "no episode was open, so none ended"
    client.sendall(bytes(UNREAD))
    drain(server, UNREAD)
    assert [event.what for event in about(probes, server)] == [What.OVER, What.BACK]


def test_a_socket_that_is_gone_leaves_no_count(probes: Probes, stack: ExitStack) -> None:
    client, server = tcp_pair(stack)
    client.sendall(bytes(UNREAD))
    (begun,) = until(lambda: about(probes, server), "the crossing")
    server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    server.close()
    until(lambda: probes.tables.counted_open(begun.address) == 0, "the end of the episode")


def test_what_is_opened_ended_and_deleted_at_once_is_counted_exactly(
    probes: Probes, stack: ExitStack
) -> None:
    """Two threads write to each socket and read from it, while this one deletes what it finds open."""

    def cross(reader: socket.socket, writer: socket.socket) -> None:
        for _ in range(ROUNDS):
            writer.sendto(bytes(UNREAD), reader.getsockname())
            with suppress(BlockingIOError):
                reader.recv(UNREAD)

    pairs = [(udp_socket(stack), udp_socket(stack)) for _ in range(PAIRS)]
    for reader, _ in pairs:
        reader.setblocking(False)
    threads = [threading.Thread(target=cross, args=pair) for pair in pairs for _ in range(2)]
    for thread in threads:
        thread.start()
    reaped = 0
    while any(thread.is_alive() for thread in threads):
        for event in probes.tables.open_episodes():
            reaped += probes.tables.reap(event.address, event.direction)
        probes.read()
    tally = probes.tables.tally()
    print(f"{tally.opened} opened, {tally.closed} closed, {reaped} deleted")
    assert min(tally.closed, reaped) > 0

    def agree() -> bool:  # of the machine's other sockets one may cross meanwhile
        counted, stand = counted_and_open(probes)
        return counted == stand

    until(agree, "as many counted at each place as stand in the table")
    assert probes.tables.open_count() == len(keys(probes.tables._tables["episodes"]))
