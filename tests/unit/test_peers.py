# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The other end of a connection: its process by a look at a real one, its episode by what was told."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace

import pytest

from sockbpf.kernel.look.close import CloseLook
from sockbpf.monitor import peers
from sockbpf.monitor.peers import Peers, mirrored
from sockbpf.record.alert import CLEARED, EXCEEDED, Notice
from sockbpf.record.event import Direction, Protocol, Socket
from tests.unit.notices import TCP, notice

NETNS = os.stat("/proc/self/ns/net").st_ino
OWNER = (os.getpid(), "pytest")


@pytest.fixture
def look() -> Iterator[CloseLook]:
    with closing(CloseLook()) as made:
        yield made


def nobody(_inode: int) -> tuple[int, str]:
    return 0, ""


def told(number: int, of: Socket, event: str = EXCEEDED) -> Notice:
    return replace(notice(event, number, 1, direction=Direction.SEND), socket=of, id=f"id-{number}")


def asking(of: Socket, direction: Direction = Direction.RECV) -> Notice:
    """Return the notice whose other end is asked for."""
    return replace(notice(EXCEEDED, 0, 1, direction=direction), socket=of)


@pytest.mark.parametrize(
    ("kind", "ip"), [(socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::ffff:127.0.0.1")]
)
def test_the_process_at_the_other_end(look: CloseLook, kind: int, ip: str) -> None:
    with ExitStack() as stack:
        server = stack.enter_context(socket.socket(kind))
        server.bind((ip, 0))
        server.listen()
        client = stack.enter_context(socket.create_connection(("127.0.0.1", server.getsockname()[1])))
        accepted = stack.enter_context(server.accept()[0])
        inode = os.fstat(accepted.fileno()).st_ino
        (local_ip, local_port), (remote_ip, remote_port) = client.getsockname(), client.getpeername()
        of = Socket(Protocol.TCP, local_ip, local_port, remote_ip, remote_port, NETNS, 1)
        found = Peers(look, lambda asked: OWNER if asked == inode else (0, ""), nobody).peer(
            asking(of, Direction.SEND), search=True
        )
        assert found
        assert (found.pid, found.comm, found.id) == (*OWNER, "")
        assert found.threads
        assert Peers(look, nobody, nobody).peer(asking(of), search=False) is None


def test_the_episode_at_the_other_end(look: CloseLook) -> None:
    known = Peers(look, nobody, nobody)
    here, there = TCP, mirrored(TCP)
    known.note(told(1, there))
    known.note(told(1, there, "ongoing"))
    found = known.peer(asking(here), search=False)
    assert found
    assert (found.id, found.pid) == ("id-1", 0)
    assert (
        known.peer(
            asking(replace(here, local_ip=f"::ffff:{here.local_ip}", remote_ip=f"::ffff:{here.remote_ip}")),
            search=False,
        )
        == found
    )
    known.note(told(1, there, CLEARED))
    assert known.peer(asking(here), search=False) is None


def test_in_another_namespace_it_must_be_one_alone(look: CloseLook) -> None:
    known = Peers(look, nobody, nobody)
    there = mirrored(TCP)
    known.note(replace(told(1, replace(there, netns=1)), pid=OWNER[0], comm=OWNER[1]))
    found = known.peer(asking(TCP), search=False)
    assert found
    assert (found.id, found.pid, found.comm) == ("id-1", *OWNER)
    known.note(told(2, replace(there, netns=2)))
    assert known.peer(asking(TCP), search=False) is None
    known.note(told(3, there))
    found = known.peer(asking(TCP), search=False)
    assert found
    assert found.id == "id-3"


def test_what_is_received_comes_from_what_is_sent_there(look: CloseLook) -> None:
    known = Peers(look, nobody, nobody)
    there = mirrored(TCP)
    for number, direction in enumerate((Direction.RECV, Direction.SEND, Direction.RECV)):
        known.note(replace(told(number, there), direction=direction))
    ids = {way: known.peer(asking(TCP, way), search=False) for way in (Direction.RECV, Direction.SEND)}
    assert [peer.id for peer in ids.values() if peer] == ["id-1", "id-0"]


def test_datagrams_and_listeners_have_no_other_end(look: CloseLook) -> None:
    known = Peers(look, nobody, nobody)
    udp = replace(TCP, protocol=Protocol.UDP)
    known.note(told(1, mirrored(udp)))
    assert known.peer(asking(udp), search=False) is None
    assert known.peer(asking(replace(TCP, remote_ip="0.0.0.0", remote_port=0)), search=False) is None


def test_what_is_remembered_is_bounded(look: CloseLook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers, "MOST_EPISODES", 7)
    known = Peers(look, nobody, nobody)
    for number in range(20):
        known.note(told(number, mirrored(replace(TCP, local_port=1000 + number))))
    assert known.peer(asking(replace(TCP, local_port=1000)), search=False) is None
    assert known.peer(asking(replace(TCP, local_port=1019)), search=False)
    for number in range(20):
        known.note(told(number, mirrored(TCP), CLEARED))
    assert len(known) == 0
