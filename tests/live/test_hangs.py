# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The request arrives while it hangs: long before the blocked sender, the lazy reader or the sleeping server wakes.

What is asserted is the order of things; how long it takes is printed, and asserted with --strict-times.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from contextlib import ExitStack
from time import time

import pytest

from tests.live.monitoring import StartMonitor, thresholds
from tests.live.receiver import Receiver
from tests.live.sockets import drain, listener, port, tcp_pair, udp_socket
from tests.live.stamping import Stamps, stamping
from tests.live.waiting import until

TRIES = 101
THRESHOLD = 20_011
KNOWN_MS = 10
"""From the crossing to the request at the receiver, p99."""


class Clock:
    """Collects how long each alert took from the crossing to the receiver, which runs on the same clock."""

    def __init__(self, stamps: Stamps) -> None:
        self.url = stamps.url
        self._stamps = stamps
        self._took_ms: list[float] = []

    def wait(self, **queue: object) -> None:
        """Wait for the alert about this queue."""
        arrived, told = self._stamps.next(event="exceeded", **queue)
        self._took_ms.append((arrived - float(told["timestamp"])) * 1e3)

    def report(self, what: str, *, strict: bool) -> None:
        order = sorted(self._took_ms)
        assert len(order) == TRIES
        p50, p99 = order[TRIES // 2], order[TRIES * 99 // 100]
        print(
            f"{what}: crossing to request p50 {p50:.1f}, p99 {p99:.1f}, max {order[-1]:.1f} ms, {TRIES} tries"
        )
        if strict:
            assert p99 <= KNOWN_MS


@pytest.fixture
def clock(stack: ExitStack) -> Clock:
    return Clock(stamping(stack))


def test_blocked_sender(
    start_monitor: StartMonitor, clock: Clock, stack: ExitStack, *, strict_times: bool
) -> None:
    """One sendall of more than all buffers hold: it returns only once the peer reads."""
    start_monitor(url=clock.url, thresholds={"send": THRESHOLD, "recv": "100MB"})
    size = 8 << 20
    for _ in range(TRIES):
        client, server = tcp_pair(stack)
        sender = threading.Thread(target=client.sendall, args=(bytes(size),))
        sender.start()
        clock.wait(type="SEND", local_port=port(client), remote_port=port(server))
        assert sender.is_alive(), "the alert came only after the sender had woken"
        drain(server, size)
        sender.join()
    clock.report("blocked sender", strict=strict_times)


def test_reader_that_never_reads(
    start_monitor: StartMonitor, clock: Clock, stack: ExitStack, *, strict_times: bool
) -> None:
    start_monitor(url=clock.url, thresholds=thresholds(THRESHOLD))
    for _ in range(TRIES):
        client, server = tcp_pair(stack)
        client.sendall(bytes(THRESHOLD + 1))
        clock.wait(type="RECV", local_port=port(server), remote_port=port(client))
    clock.report("reader that never reads", strict=strict_times)


def test_sleeping_udp_server(
    start_monitor: StartMonitor, clock: Clock, stack: ExitStack, *, strict_times: bool
) -> None:
    start_monitor(url=clock.url, thresholds=thresholds(THRESHOLD))
    client = udp_socket(stack)
    for _ in range(TRIES):
        server = udp_socket(stack)
        for _ in range(31):
            client.sendto(bytes(1009), server.getsockname())
        clock.wait(type="RECV", protocol="udp", local_port=port(server))
    clock.report("sleeping UDP server", strict=strict_times)


READER = """
import socket, sys
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
accepted = listener.accept()[0]
print("accepted", flush=True)
sys.stdin.read()
"""


def test_owner_is_who_holds_the_socket(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    """Loopback's softirq runs in the sender's context: the reader must be named all the same.

    If another socket's owner was searched for just before, the first alert names nobody.
    """
    start_monitor(thresholds=thresholds(THRESHOLD), repeat="1s")
    reader = stack.enter_context(
        subprocess.Popen([sys.executable, "-c", READER], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    )
    assert reader.stdout is not None
    number = int(reader.stdout.readline())
    client = stack.enter_context(socket.create_connection(("127.0.0.1", number)))
    assert reader.stdout.readline() == b"accepted\n"
    client.sendall(bytes(THRESHOLD + 1))
    told = receiver.first(event="exceeded", local_port=number, type="RECV")
    owned = until(
        lambda: [each for each in receiver.alerts(id=told["id"]) if "pid" in each],
        "an alert that names somebody",
    )
    assert {(each["pid"], each["comm"][:6]) for each in owned} == {(str(reader.pid), "python")}
    assert abs(float(told["timestamp"]) - time()) < 60
    reader.communicate(b"")


def test_owner_of_what_was_not_accepted_yet(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    """No process holds such a socket: nobody is named, until it is accepted."""
    start_monitor(thresholds=thresholds(THRESHOLD), repeat="1s")
    server = listener(stack, "ipv4")
    client = stack.enter_context(socket.create_connection(server.getsockname()))
    client.sendall(bytes(THRESHOLD + 1))
    told = receiver.first(event="exceeded", local_port=port(server), type="RECV")
    assert "pid" not in told
    stack.enter_context(server.accept()[0])
    receiver.first(event="ongoing", id=told["id"], pid=os.getpid())
