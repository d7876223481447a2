# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The thread that looks at all sockets marks none as the monitor's own; every other thread of the process does.

An iterator releases each TCP socket in the looker's own context. Here the looker sends instead: every hook on what a
thread does to a socket asks the same question, and this needs no kernel on which the hook is on release_sock.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from sockbpf.counters import Counters
from sockbpf.kernel.attach.arm import arm
from sockbpf.kernel.attach.probes import Probes
from sockbpf.kernel.attach.tables import KernelLevels
from sockbpf.record.event import What
from sockbpf.settings.config import Config
from tests.live.sockets import drain, inode, tcp_pair

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="loading programs needs root")

THRESHOLD, UNREAD, ROUNDS = 20_011, 30_011, 1009


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def probes() -> Iterator[Probes]:
    levels = KernelLevels(2 * (THRESHOLD,), clear=2 * (THRESHOLD,), own_pid=os.getpid())
    made = arm(Config(url="http://127.0.0.1:9/"), levels, Counters())
    made.demand(wanted=True)
    yield made
    made.close()


def test_the_looker_marks_no_socket_while_others_mark_theirs(probes: Probes, stack: ExitStack) -> None:
    looked_at, reader = tcp_pair(stack)
    own, answering = tcp_pair(stack)
    may_begin = threading.Event()

    def look() -> None:
        may_begin.wait()
        for _ in range(ROUNDS):
            looked_at.send(b"x")
            drain(reader, 1)

    looker = threading.Thread(target=look)
    looker.start()
    probes.tables.set_lookers(0, looker.native_id or 0)
    may_begin.set()
    for _ in range(ROUNDS):
        own.send(b"x")
        drain(answering, 1)
    looker.join()
    assert not probes.tables.is_own(inode(looked_at))
    assert probes.tables.is_own(inode(own))


def test_what_the_looker_was_at_is_still_told(probes: Probes, stack: ExitStack) -> None:
    client, server = tcp_pair(stack)
    probes.tables.set_lookers(threading.get_native_id())
    server.send(b"x")
    client.sendall(bytes(UNREAD))
    drain(server, UNREAD)
    told = [event.what for event in probes.read() if event.socket.inode == inode(server)]
    assert told == [What.OVER, What.BACK]
    assert probes.tables.tally().own == 0


def test_without_a_looker_every_thread_marks(probes: Probes, stack: ExitStack) -> None:
    client, server = tcp_pair(stack)
    client.sendall(bytes(UNREAD))
    drain(server, UNREAD)
    assert probes.tables.is_own(inode(client))
