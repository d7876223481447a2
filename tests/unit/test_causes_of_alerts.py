# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which alerts are explained, and what is remembered between those of one episode; the sockets are real."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace

import pytest

from sockbpf.counters import Counters
from sockbpf.monitor import causes
from sockbpf.monitor.causes import Causes
from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Folded, Notice
from sockbpf.record.closeup import Closeup, Memory, Tcp, Timer
from sockbpf.record.event import Direction, Protocol, Socket
from sockbpf.record.why import Cause
from tests.unit.notices import notice

NETNS = os.stat("/proc/self/ns/net").st_ino
UNREAD = 2003
FULL_PATH = Tcp(
    retransmits=0, backoff=0, rto_us=None, mss=100, unacked=10, sacked=0, lost=0, retrans=0, last_ack_ms=None,
    rtt_us=20_000, cwnd=10, total_retrans=0, notsent=1003, snd_wnd=1 << 20,
)  # fmt: skip
"""Its congestion window is used up."""


def nobody(_inode: int) -> tuple[int, str]:
    return 0, ""


@contextmanager
def unread() -> Iterator[tuple[socket.socket, Notice]]:
    """Give a socket that holds unread bytes, and the notice of its receive queue."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as client,
        server.accept()[0] as reader,
    ):
        client.sendall(bytes(UNREAD))
        while len(reader.recv(UNREAD, socket.MSG_PEEK)) < UNREAD:
            pass
        (local_ip, local_port), (remote_ip, remote_port) = reader.getsockname(), reader.getpeername()
        inode = os.fstat(reader.fileno()).st_ino
        of = Socket(Protocol.TCP, local_ip, local_port, remote_ip, remote_port, NETNS, inode)
        ns = time.monotonic_ns()
        yield reader, replace(notice(EXCEEDED, 1, ns, size=UNREAD), socket=of, pid=os.getpid(), comm="pytest")


def cause_of(one: Notice | Folded) -> Cause | None:
    assert isinstance(one, Notice)
    return one.why.cause if one.why else None


def test_what_is_read_meanwhile_tells_a_slow_reader() -> None:
    with unread() as (reader, made), ExitStack() as stack:
        found = stack.enter_context(closing(Causes(Counters(), nobody, nobody)))
        (first,) = found.explained([made])
        assert cause_of(first) in {Cause.UNKNOWN, Cause.READER_BLOCKED}  # as the threads of the tests are
        reader.recv(101)
        (second,) = found.explained([replace(made, event=ONGOING)])
        assert cause_of(second) is Cause.READER_SLOW
        (last,) = found.explained([replace(made, event=CLEARED, ns=time.monotonic_ns())])
        assert cause_of(last) is Cause.READER_SLOW


def test_a_socket_that_is_gone_has_no_cause() -> None:
    with unread() as (_, made):
        pass
    with closing(Causes(Counters(), nobody, nobody)) as found:
        (told,) = found.explained([made])
    assert cause_of(told) is None


def test_what_is_over_by_then_is_told_by_what_was_read_at_the_crossing() -> None:
    with unread() as (_, made):
        pass
    crossing = Closeup(
        made.since_ns, 1, 4711, 0, UNREAD, Timer.RETRANSMIT, Memory(0, 4096, UNREAD), FULL_PATH
    )
    with closing(Causes(Counters(), nobody, nobody)) as found:
        (told,) = found.explained([replace(made, direction=Direction.SEND, crossing=crossing)])
    assert cause_of(told) is Cause.PATH_LIMITED
    assert isinstance(told, Notice)
    assert told.why
    assert ("cwnd", 10) in told.why.evidence
    assert "rto_us" not in dict(told.why.evidence)


def test_rates_and_folded_alerts_are_passed_on() -> None:
    rate = replace(notice(EXCEEDED, 1, 1, direction=Direction.RATE), socket=None)
    folded = Folded(notice(EXCEEDED, 2, 2), 7, ())
    assert Causes(Counters(), nobody, nobody).explained([rate, folded]) == [rate, folded]


def test_only_for_so_long_in_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    counters = Counters()
    monkeypatch.setattr(causes, "MOST_NS", {EXCEEDED: 10**6, ONGOING: 10**6})
    with unread() as (_, made), ExitStack() as stack:
        many = [replace(made, id=f"id-{number}") for number in range(1009)]
        found = stack.enter_context(closing(Causes(counters, nobody, nobody)))
        told = found.explained(many)
        (lasting,) = found.explained([replace(made, id="id-0", event=ONGOING)])
    assert cause_of(lasting), "crossings used up the time of what lasts"
    explained = sum(cause_of(one) is not None for one in told)
    assert len(told) == len(many)
    assert explained + counters.snapshot()["unexplained"] == len(many)
    assert 1 <= explained < len(many)


def test_what_has_ended_is_forgotten() -> None:
    with unread() as (_, made), ExitStack() as stack:
        found = stack.enter_context(closing(Causes(Counters(), nobody, nobody)))
        for number in range(7):
            found.explained([replace(made, id=f"id-{number}")])
        assert len(found) == 7
        for number in range(7):
            found.explained([replace(made, id=f"id-{number}", event=CLEARED)])
        assert len(found) == 0
