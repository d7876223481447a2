# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A queue from which nothing leaves is told, whatever its size: whose it is, since when; and its end.

What is drained and filled again between two looks is not, nor is a connection that waits for its end to be read.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack

import pytest

from sockbpf.kernel.look.netns import inside
from tests.live.monitoring import Monitor, StartMonitor
from tests.live.network import namespace
from tests.live.receiver import Receiver
from tests.live.reloading import change
from tests.live.sockets import FAMILIES, deafen, drain, listener, port, tcp_pair, unsent
from tests.live.stalling import KINDS, UNREAD, Stall, unread_tcp, unread_udp
from tests.live.waiting import until, wait_until

AFTER_S = 1.5
STALLED = {"after": "1500ms", "above": "1KiB"}
END_S = 10.0
"""From the moment that a queue moves to the alert that says so: less than to the next sweep of all sockets."""


def begun(receiver: Receiver, stall: Stall) -> dict[str, str]:
    return receiver.first(event="exceeded", condition="stalled", **stall.queue)


def assert_ended(receiver: Receiver, told: dict[str, str], since_s: float, most_s: float = END_S) -> None:
    """Assert that the end of an episode comes, and soon after this moment of Unix time."""
    receiver.first(event="cleared", id=told["id"])
    took_s = next(
        at for at, alert in receiver.told if alert["event"] == "cleared" and alert["id"] == told["id"]
    )
    assert took_s - since_s < most_s


@pytest.mark.parametrize("look", ["auto", "sock_diag"])
def test_whatever_stands_still_is_told(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, look: str
) -> None:
    monitor = start_monitor(stalled=STALLED, kernel={"look": look}, repeat="1s")
    has_iterators = "looked at by BPF iterators" in monitor.log()
    stalls = [
        make(stack, family)
        for make in KINDS
        for family in FAMILIES
        if has_iterators or make is not unread_udp
    ]
    filled_s = time.time()
    unseen = unread_udp(stack)
    for stall in stalls:
        told = begun(receiver, stall)
        arrived_s = next(at for at, alert in receiver.told if alert["id"] == told["id"])
        assert arrived_s - float(told["timestamp"]) > AFTER_S
        assert float(told["timestamp"]) < filled_s + 3
        assert (told["threshold"], told["severity"], told["mode"]) == ("1024", "warning", "poll")
        assert told["duration"] == "0"
        receiver.first(id=told["id"], pid=os.getpid())  # at first the search for owners may have been resting
        if told["protocol"] == "tcp":
            assert (told["size"], told["state"]) == (str(UNREAD), "ESTAB")
    assert has_iterators or not receiver.alerts(**unseen.queue)
    moved_s = time.time()
    for stall in stalls:
        stall.empty()
    for stall in stalls:
        told = begun(receiver, stall)
        # What was not acknowledged is sent again after a while that has grown meanwhile.
        assert_ended(receiver, told, moved_s, 30 if told["type"] == "SEND" else END_S)
    assert monitor.stop() == 0
    for stall in stalls:
        events = [alert["event"] for alert in receiver.alerts(**stall.queue)]
        assert (events[0], events[-1], {*events[1:-1]} - {"ongoing"}) == ("exceeded", "cleared", set())


def test_in_another_namespace(start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack) -> None:
    name = stack.enter_context(namespace())
    start_monitor(stalled=STALLED)
    with inside(f"/run/netns/{name}") as netns:
        stall = unread_tcp(stack)
    told = begun(receiver, stall)
    assert told["netns"] == str(netns)
    moved_s = time.time()
    stall.empty()
    assert_ended(receiver, told, moved_s)


@pytest.mark.parametrize("make", KINDS)
def test_what_is_drained_and_filled_again_between_looks_is_not_stalled(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, make: Callable[[ExitStack], Stall]
) -> None:
    """It has the same size at nearly all looks; another queue shows that these go on."""
    start_monitor(stalled=STALLED, repeat="1s")
    busy, still = make(stack), unread_tcp(stack)
    end_s = time.monotonic() + 60
    while len(receiver.alerts(event="ongoing", **still.queue)) < 3:
        assert time.monotonic() < end_s
        busy.empty()
        if busy.queue["type"] == "SEND":
            until(lambda: unsent(busy.sock) == 0, "what was lost was sent again")
        busy.fill()
        wait_until(time.monotonic() + 0.05)
    assert not receiver.alerts(**busy.queue)
    begun(receiver, still)


def test_a_connection_at_its_end_is_not_stalled(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    """The end of a stream counts one in both queues, also where any byte is too much."""
    start_monitor(stalled={"after": "1500ms", "above": 0}, repeat="1s")
    client, server = tcp_pair(stack)
    client.shutdown(socket.SHUT_WR)
    waits, peer = tcp_pair(stack)
    deafen(waits)
    waits.shutdown(socket.SHUT_WR)
    one, reader = tcp_pair(stack)
    one.sendall(b"x")
    one.shutdown(socket.SHUT_WR)
    told = receiver.first(
        event="exceeded", condition="stalled", local_port=port(reader), remote_port=port(one)
    )
    assert (told["size"], told["state"]) == ("2", "CLOSE-WAIT")
    receiver.count(2, event="ongoing", id=told["id"])
    for sock in (client, server, waits, peer):
        assert not receiver.alerts(local_port=port(sock), remote_port=sock.getpeername()[1])


def test_what_nobody_accepts_and_what_was_closed(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    """Both are told without an owner; who accepts is named."""
    start_monitor(stalled=STALLED, repeat="1s")
    server = listener(stack, "ipv4")
    client = stack.enter_context(socket.create_connection(server.getsockname()))
    client.sendall(bytes(UNREAD))
    left, _ = tcp_pair(stack)
    orphan = {"local_port": port(left), "remote_port": left.getpeername()[1], "type": "SEND"}
    deafen(left)
    left.sendall(bytes(UNREAD))
    left.close()
    told = receiver.first(event="exceeded", condition="stalled", **orphan)
    assert "pid" not in told
    assert told["state"] == "FIN-WAIT-1"
    told = receiver.first(event="exceeded", condition="stalled", local_port=port(server), type="RECV")
    assert "pid" not in told
    accepted = stack.enter_context(server.accept()[0])
    receiver.first(event="ongoing", id=told["id"], pid=os.getpid())
    moved_s = time.time()
    drain(accepted, UNREAD)
    assert_ended(receiver, told, moved_s)


READER = """
import socket
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
accepted = listener.accept()[0]
while accepted.recv(65536):
    print("read", flush=True)
"""


def test_a_reader_that_is_stopped(start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack) -> None:
    start_monitor(stalled=STALLED, repeat="1s")
    reader = stack.enter_context(subprocess.Popen([sys.executable, "-c", READER], stdout=subprocess.PIPE))
    stack.callback(reader.kill)
    assert reader.stdout
    number = int(reader.stdout.readline())
    client = stack.enter_context(socket.create_connection(("127.0.0.1", number)))
    client.sendall(bytes(UNREAD))
    assert reader.stdout.readline() == b"read\n"
    reader.send_signal(signal.SIGSTOP)
    os.waitpid(reader.pid, os.WUNTRACED)
    stopped_s = time.time()
    client.sendall(bytes(UNREAD))
    told = receiver.first(event="exceeded", condition="stalled", type="RECV", local_port=number)
    assert receiver.first(id=told["id"], pid=reader.pid)["comm"][:6] == "python"
    assert float(told["timestamp"]) >= stopped_s
    moved_s = time.time()
    reader.send_signal(signal.SIGCONT)
    assert_ended(receiver, told, moved_s)


def test_a_reload_takes_the_setting(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    monitor: Monitor = start_monitor(stalled={"after": "0s"}, repeat="1s")
    stall = unread_tcp(stack)
    change(monitor, stalled={"after": "1h"})
    assert not receiver.alerts(**stall.queue)
    change(monitor, stalled={"after": "1s", "above": UNREAD})
    change(monitor, stalled={"after": "1s", "above": UNREAD - 1})
    told = begun(receiver, stall)
    assert told["threshold"] == str(UNREAD - 1)
    receiver.first(event="ongoing", id=told["id"])
    moved_s = time.time()
    change(monitor, stalled={"after": "0s"})
    assert_ended(receiver, told, moved_s)
    assert len(receiver.alerts(event="exceeded", **stall.queue)) == 1
