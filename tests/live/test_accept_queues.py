# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Accept queues are told in connections, as `ss -ltn` has them; what was dropped, as `nstat` has it, by whom."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

from sockbpf.kernel.look.netns import inside
from tests.live.listening import connect, knock, listener, overflows, queue
from tests.live.monitoring import StartMonitor, stopped
from tests.live.network import namespace
from tests.live.ports import free_port
from tests.live.receiver import Receiver
from tests.live.reloading import change
from tests.live.sockets import FAMILIES, port
from tests.live.waiting import DEADLINE_S, until, wait_until

OVER = 103
"""Connections: one more than 80 % of the backlog."""


@pytest.mark.parametrize("family", FAMILIES)
def test_a_listener_from_which_nobody_accepts(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, family: str
) -> None:
    monitor = start_monitor(listeners={"backlog": "80%", "hold": "1s"}, repeat="1s")
    server = listener(stack, family)
    name = {"type": "ACCEPT", "local_port": port(server)}
    connect(stack, server, OVER - 1)
    exact = listener(stack, family)
    connect(stack, exact, OVER)
    told = receiver.first(event="exceeded", type="ACCEPT", local_port=port(exact))
    assert not receiver.alerts(**name)
    connect(stack, server, 27)
    told = receiver.first(event="exceeded", **name)
    assert queue(server) == (129, 128)
    ip = {"ipv4": "127.0.0.1", "ipv6": "::1", "mapped": "::ffff:127.0.0.1"}[family]
    wanted = {
        "size": "129",
        "threshold": "102",
        "limit": "128",
        "fill": "100",
        "state": "LISTEN",
        "drops": "0",
    }
    wanted |= {"condition": "accept", "severity": "warning", "protocol": "tcp"}
    wanted |= {"local_ip": ip, "remote_port": "0", "remote_ip": "0.0.0.0" if family == "ipv4" else "::"}
    assert wanted.items() <= told.items()
    receiver.first(event="ongoing", id=told["id"], size=129, pid=os.getpid())
    with stopped(monitor):
        for _ in range(129):
            stack.enter_context(server.accept()[0])
    ended = receiver.first(event="cleared", id=told["id"])
    assert (ended["size"], ended["peak"]) == ("0", "129")


def test_an_overflow_is_told_with_what_was_dropped(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    """Even if nothing waits any more when somebody looks, and however long the hold is."""
    monitor = start_monitor(listeners={"backlog": "80%", "hold": "1h"})
    with (
        inside(f"/run/netns/{stack.enter_context(namespace())}"),
        stopped(monitor),
    ):  # others overflow elsewhere
        server = listener(stack, backlog=7)
        connect(stack, server, 8)
        knock(server, 13)
        for _ in range(8):
            stack.enter_context(server.accept()[0])
        assert overflows() == (13, 13)
    told = receiver.first(event="exceeded", type="ACCEPT", local_port=port(server))
    wanted = {
        "severity": "critical",
        "condition": "accept",
        "threshold": "7",
        "limit": "7",
        "size": "8",
        "drops": "13",
    }
    assert wanted.items() <= told.items()
    assert len(receiver.alerts(event="exceeded", local_port=port(server))) == 1


def test_further_drops_are_in_the_end(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    monitor = start_monitor(listeners={"backlog": "80%", "hold": "0s"}, repeat="1s")
    server = listener(stack, backlog=7)
    name = {"local_port": port(server), "severity": "critical"}
    connect(stack, server, 8)
    knock(server, 13)
    told = receiver.first(event="exceeded", **name)
    knock(server, 17)
    receiver.first(event="ongoing", id=told["id"], drops=30)
    with stopped(monitor):
        for _ in range(8):
            stack.enter_context(server.accept()[0])
    ended = receiver.first(event="cleared", id=told["id"])
    assert (ended["drops"], ended["size"]) == ("30", "0")


def test_a_burst_that_is_accepted_within_the_hold_is_not_told(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    start_monitor(listeners={"backlog": "80%", "hold": "4s"})
    server, still = listener(stack), listener(stack)
    connect(stack, server, 128)
    connect(stack, still, OVER)
    begun_s = time.monotonic()
    for _ in range(128):
        stack.enter_context(server.accept()[0])
    assert time.monotonic() - begun_s < 4
    receiver.first(event="exceeded", type="ACCEPT", local_port=port(still))
    assert not receiver.alerts(local_port=port(server), type="ACCEPT")


def test_in_another_namespace(start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack) -> None:
    """A namespace that was made after the start, whose overflow comes before the first look at it."""
    monitor = start_monitor(listeners={"backlog": "80%"})
    with stopped(monitor), inside(f"/run/netns/{stack.enter_context(namespace())}") as netns:
        server = listener(stack, backlog=7)
        connect(stack, server, 8)
        knock(server, 13)
    told = receiver.first(event="exceeded", type="ACCEPT", local_port=port(server), netns=netns)
    assert (told["severity"], told["size"]) == ("critical", "8")
    assert told["drops"] == "13"


def test_one_member_of_a_group_that_shares_a_port(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    start_monitor(listeners={"backlog": "80%"}, repeat="1s")
    members = [listener(stack, shared=0)]
    members += [listener(stack, shared=port(members[0])) for _ in range(2)]
    hung, *others = members
    for other in others:
        other.setblocking(False)
    while queue(hung)[0] < OVER:
        stack.enter_context(socket.create_connection(hung.getsockname()))
        for other in others:
            with suppress(BlockingIOError):
                stack.enter_context(other.accept()[0])
    told = receiver.first(event="exceeded", type="ACCEPT", local_port=port(hung))
    assert told["severity"] == "warning"
    receiver.count(2, event="ongoing", id=told["id"])
    assert {alert["id"] for alert in receiver.alerts(type="ACCEPT", local_port=port(hung))} == {told["id"]}


def test_a_reload(start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack) -> None:
    monitor = start_monitor(listeners={"backlog": 0})
    server = listener(stack)
    name = {"type": "ACCEPT", "local_port": port(server)}
    connect(stack, server, 17)
    change(monitor, listeners={"backlog": 16, "hold": "250ms"}, repeat="1s")
    told = receiver.first(event="exceeded", **name)
    assert (told["size"], told["threshold"]) == ("17", "16")
    receiver.first(event="ongoing", id=told["id"])
    change(monitor, listeners={"backlog": "0%"})
    receiver.first(event="cleared", id=told["id"])
    assert len(receiver.alerts(event="exceeded", **name)) == 1


STALLED = {"after": "3s", "above": "1KiB"}


def test_a_listener_from_which_nobody_accepts_for_a_while(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    """Far below its limit; one that accepts as many as come, with as many waiting all the time, is not told."""
    start_monitor(listeners={"backlog": "80%"}, stalled=STALLED, repeat="1s")
    hung, busy = listener(stack), listener(stack)
    filled_s = time.time()
    connect(stack, hung, 2)
    connect(stack, busy, 2)
    name = {"type": "ACCEPT", "condition": "stalled", "local_port": port(hung)}
    while not receiver.alerts(event="exceeded", **name):
        assert time.time() < filled_s + DEADLINE_S
        stack.enter_context(socket.create_connection(busy.getsockname()))
        stack.enter_context(busy.accept()[0])
        wait_until(time.monotonic() + 0.02)
    told = receiver.first(event="exceeded", **name)
    wanted = {
        "size": "2",
        "threshold": "0",
        "limit": "128",
        "fill": "1",
        "drops": None,
    }
    assert {key: told.get(key) for key in wanted} == wanted
    assert float(told["timestamp"]) < filled_s + 3, "since then it stands still; it was told later"
    connect(stack, hung, 5)
    receiver.first(event="ongoing", id=told["id"], size=7, pid=os.getpid())
    stack.enter_context(hung.accept()[0])
    ended = receiver.first(event="cleared", id=told["id"])
    assert ended["size"] == "6"
    assert not receiver.alerts(local_port=port(busy), type="ACCEPT")


def test_nginx_that_is_stopped(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, tmp_path: Path
) -> None:
    start_monitor(listeners={"backlog": "80%"}, stalled=STALLED, repeat="1s")
    number = free_port()
    (tmp_path / "nginx.conf").write_text(
        f"pid {tmp_path}/pid; error_log {tmp_path}/errors; master_process off; daemon off;\n"
        f"events {{}}\nhttp {{ access_log off; server {{ listen 127.0.0.1:{number} backlog=128; return 204; }} }}\n"
    )
    command = ["nginx", "-e", str(tmp_path / "errors"), "-c", str(tmp_path / "nginx.conf")]
    nginx = stack.enter_context(subprocess.Popen(command))
    stack.callback(nginx.kill)
    until(lambda: answers(number), "nginx to answer")
    nginx.send_signal(signal.SIGSTOP)
    os.waitpid(nginx.pid, os.WUNTRACED)
    stack.enter_context(socket.create_connection(("127.0.0.1", number)))
    told = receiver.first(event="exceeded", type="ACCEPT", condition="stalled", local_port=number)
    assert told["size"] == "1"
    receiver.first(id=told["id"], pid=nginx.pid, comm="nginx")
    nginx.send_signal(signal.SIGCONT)
    receiver.first(event="cleared", id=told["id"], pid=nginx.pid)


def answers(number: int) -> bool:
    with suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", number)) as client:
        client.sendall(b"GET / HTTP/1.0\r\n\r\n")
        return bool(client.recv(1))
    return False
