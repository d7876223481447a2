# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Without a single hook the same alerts come, from looking at the sockets alone.

TCP and UDP receive queues and a TCP send queue: `exceeded` with mode=poll, the sizes that `ss` shows, `cleared` once
the queue is drained and once the socket is closed.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from socket import socket

import pytest

from tests.live.monitoring import StartMonitor, thresholds
from tests.live.receiver import Receiver
from tests.live.sockets import deafen, drain, inode, port, ss, ss_all, tcp_pair, udp_socket, undeafen
from tests.live.waiting import until

THRESHOLD = 20_011
UNREAD = 30_011
DATAGRAM, DATAGRAMS = 1009, 31


@dataclass(frozen=True)
class Stalled:
    """A socket whose queue is over; `column` is that queue's place in what `ss` shows."""

    sock: socket
    direction: str
    empty: Callable[[], None]
    close: Callable[[], None]

    @property
    def column(self) -> int:
        return 0 if self.direction == "RECV" else 1


def tcp_recv(stack: ExitStack) -> Stalled:
    client, server = tcp_pair(stack)
    client.sendall(bytes(UNREAD))
    return Stalled(server, "RECV", lambda: drain(server, UNREAD), server.close)


def tcp_send(stack: ExitStack) -> Stalled:
    """Send to a peer whose acknowledgements do not arrive."""
    client, server = tcp_pair(stack)
    deafen(client)
    client.sendall(bytes(UNREAD))

    def reset() -> None:
        undeafen(client)
        server.close()  # with bytes unread, so by RST
        client.close()

    return Stalled(client, "SEND", lambda: undeafen(client), reset)


def udp_recv(stack: ExitStack) -> Stalled:
    reader, writer = udp_socket(stack), udp_socket(stack)
    for _ in range(DATAGRAMS):
        writer.sendto(bytes(DATAGRAM), reader.getsockname())

    def empty() -> None:
        for _ in range(DATAGRAMS):
            assert len(reader.recv(DATAGRAM)) == DATAGRAM

    return Stalled(reader, "RECV", empty, reader.close)


KINDS: dict[str, Callable[[ExitStack], Stalled]] = {
    "tcp recv": tcp_recv,
    "tcp send": tcp_send,
    "udp recv": udp_recv,
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("end", ["drain", "close"])
@pytest.mark.parametrize("look", ["auto", "sock_diag"])
def test_poll(  # noqa: PLR0917, what it is run with
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, kind: str, end: str, look: str
) -> None:
    monitor = start_monitor(
        thresholds=thresholds(THRESHOLD),
        kernel={"hooks": "none", "look": look},
        sweep={"poll": "100ms", "recheck": "100ms"},
        repeat="1s",
    )
    stalled = KINDS[kind](stack)
    name = {"local_port": port(stalled.sock), "type": stalled.direction, "protocol": kind[:3]}
    told = receiver.first(event="exceeded", **name)
    assert told["mode"] == "poll"
    assert int(told["size"]) > THRESHOLD  # it may have been seen half filled

    shown = ss(stalled.sock)[stalled.column]
    later = receiver.first(event="ongoing", **name)
    assert int(later["size"]) == int(later["peak"]) == shown
    if kind != "udp recv":  # there `ss` counts what the kernel holds
        assert shown == UNREAD

    number = inode(stalled.sock)
    if end == "drain":
        stalled.empty()
        until(lambda: ss(stalled.sock)[stalled.column] == 0, "an empty queue")
    else:
        stalled.close()
        assert number not in ss_all()
    cleared = receiver.first(event="cleared", **name)
    assert (cleared["id"], cleared["mode"], int(cleared["peak"])) == (told["id"], "poll", shown)
    assert int(cleared["size"]) <= THRESHOLD
    assert monitor.stop() == 0
    events = [alert["event"] for alert in receiver.alerts(**name) if alert["event"] != "ongoing"]
    assert events == ["exceeded", "cleared"]
    counts = monitor.counters()
    assert (counts["events"], counts["sweep_failed"]) == (0, 0)
    if look == "sock_diag":
        assert counts["look_refused"] == 1
