# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Rules on this kernel: each queue is judged by the first rule that fits its socket, the others as before."""

from __future__ import annotations

import socket
import subprocess
import sys
from contextlib import ExitStack
from functools import partial

import pytest

from tests.abi.rule_sockets import UNIFIED, cgroup
from tests.live.monitoring import StartMonitor, thresholds
from tests.live.receiver import Receiver
from tests.live.reloading import change
from tests.live.sockets import drain, port, tcp_pair, udp_socket
from tests.live.waiting import until

LOW, FILL, HIGH = 10_007, 30_011, 1_000_003

READER = """
import socket, sys
with open("/proc/self/comm", "w") as comm:
    comm.write(sys.argv[1])
listener = socket.create_server(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
accepted, _ = listener.accept()
print("accepted", flush=True)
sys.stdin.read()
"""


BY_ANSWERS = (sys.executable, "-m", "tests.live.by_answers")


@pytest.fixture(params=["kernel", "answers"])
def start_monitor(request: pytest.FixtureRequest, start_monitor: StartMonitor) -> StartMonitor:
    """Return what starts a monitor that matches rules in the kernel, and one as before Linux 5.3."""
    return start_monitor if request.param == "kernel" else partial(start_monitor, before=BY_ANSWERS)


def reader(stack: ExitStack, name: str) -> tuple[subprocess.Popen[str], int]:
    """Start a process of this name that accepts a connection and never reads; return it and its port."""
    process = stack.enter_context(
        subprocess.Popen(
            [sys.executable, "-c", READER, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
    )
    stack.callback(process.kill)  # it may wait for a connection that does not come
    assert process.stdout
    return process, int(process.stdout.readline())


def test_two_services_have_thresholds_of_their_own(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    (one, of_one), (two, of_two), (other, of_other) = (tcp_pair(stack) for _ in range(3))
    start_monitor(
        thresholds=thresholds(HIGH),
        rules=[
            {
                "name": "one",
                "match": {"local_port": port(of_one)},
                "thresholds": {"recv": LOW},
                "severity": {"size": "critical", "stalled": "warning"},
            },
            {"match": {"local_port": [1, port(of_two)], "protocol": "tcp"}, "thresholds": {"recv": FILL - 1}},
        ],
    )
    for client in (one, two, other):
        client.sendall(bytes(FILL))
    told = receiver.first(event="exceeded", local_port=port(of_one), type="RECV")
    assert (told["threshold"], told["rule"], told["severity"]) == (str(LOW), "one", "critical")
    assert (told["mode"], told["size"]) == ("ebpf", str(FILL))
    told = receiver.first(event="exceeded", local_port=port(of_two), type="RECV")
    assert (told["threshold"], told["rule"], told["severity"]) == (str(FILL - 1), "rule-2", "warning")
    assert told["mode"] == "ebpf"
    for client, server in ((one, of_one), (two, of_two), (other, of_other)):
        drain(server, FILL)
        client.sendall(bytes(LOW - 1))
        drain(server, LOW - 1)
    for server in (of_one, of_two):  # two sockets' ends may come in any order
        receiver.first(event="cleared", local_port=port(server), type="RECV")
        assert len(receiver.alerts(local_port=port(server), type="RECV")) == 2
    assert not receiver.alerts(local_port=port(of_other))


def test_a_prefix_decides(start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack) -> None:
    near, far = udp_socket(stack), udp_socket(stack)
    monitor = start_monitor(
        thresholds=thresholds(HIGH),
        rules=[
            {
                "name": "far",
                "match": {"remote_ip": "127.0.7.0/24", "protocol": "udp"},
                "thresholds": {"recv": LOW},
            }
        ],
    )
    for server, ip in ((near, "127.0.0.9"), (far, "127.0.7.9")):
        sender = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sender.bind((ip, 0))
        server.connect(sender.getsockname())
        for _ in range(31):
            sender.sendto(bytes(1009), server.getsockname())
    told = receiver.first(event="exceeded", local_port=port(far), type="RECV")
    assert (told["rule"], told["threshold"], told["mode"]) == ("far", str(LOW), "ebpf")
    assert not receiver.alerts(local_port=port(near))
    assert monitor.stop() == 0


def test_a_process_and_an_ignored_one(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    """Whose a socket is user space finds out, once: from then on the kernel side decides alone."""
    named, of_named = reader(stack, "slow-reader")
    ignored, of_ignored = reader(stack, "noisy")
    other, of_other = reader(stack, "third")
    ours = [of_named, of_ignored, of_other]
    monitor = start_monitor(
        thresholds=thresholds(FILL - 1),
        rules=[
            {
                "name": "slow",
                "match": {"process": "slow-*", "local_port": ours},
                "thresholds": {"recv": LOW},
            },
            {"name": "noise", "match": {"process": "noisy", "local_port": [*ours]}, "ignore": True},
        ],
    )
    clients = {number: tcp_client(stack, number) for number in ours}
    for process in (named, ignored, other):  # whom nobody has accepted yet is of no process
        assert process.stdout
        assert process.stdout.readline() == "accepted\n"
    for client in clients.values():
        client.sendall(bytes(LOW + 1))
    told = receiver.first(event="exceeded", local_port=of_named, type="RECV")
    assert (told["rule"], told["threshold"], told["size"]) == ("slow", str(LOW), str(LOW + 1))
    assert told["comm"] == "slow-reader"
    until(lambda: monitor.counted()["unsure_dropped"] == 2, "the processes of the others known")
    for client in clients.values():
        client.sendall(bytes(FILL))
    told = receiver.first(event="exceeded", local_port=of_other, type="RECV")
    assert (told.get("rule"), told["threshold"], told["mode"]) == (None, str(FILL - 1), "ebpf")
    assert not receiver.alerts(local_port=of_ignored)
    for process in (named, ignored, other):
        assert process.stdin
        process.stdin.close()
    receiver.first(event="cleared", local_port=of_named, type="RECV")
    receiver.first(event="cleared", local_port=of_other, type="RECV")
    assert not receiver.alerts(local_port=of_ignored)
    assert monitor.stop() == 0


def tcp_client(stack: ExitStack, number: int) -> socket.socket:
    return stack.enter_context(socket.create_connection(("127.0.0.1", number)))


@pytest.mark.skipif(UNIFIED is None, reason="sockets have no cgroup here")
def test_a_cgroup_decides(start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack) -> None:
    monitor = start_monitor(
        thresholds=thresholds(HIGH),
        rules=[{"name": "boxed", "match": {"cgroup": "/sockbpf-*-boxed"}, "thresholds": {"recv": LOW}}],
    )
    other, plain = tcp_pair(stack)
    stack.enter_context(cgroup("boxed"))
    client, server = tcp_pair(stack)
    for each in (client, other):
        each.sendall(bytes(FILL))
    told = receiver.first(event="exceeded", local_port=port(server), type="RECV")
    assert (told["rule"], told["threshold"], told["mode"]) == ("boxed", str(LOW), "ebpf")
    drain(server, FILL)
    receiver.first(event="cleared", local_port=port(server), type="RECV")
    assert not receiver.alerts(local_port=port(plain))
    assert monitor.stop() == 0


def test_rules_come_and_go_by_a_reload(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    client, server = tcp_pair(stack)
    rule = {"name": "new", "match": {"local_port": port(server)}, "thresholds": {"recv": LOW}}
    monitor = start_monitor(thresholds=thresholds(HIGH))
    client.sendall(bytes(FILL))
    change(monitor, thresholds=thresholds(HIGH), rules=[rule])
    told = receiver.first(event="exceeded", local_port=port(server), type="RECV")
    assert (told["rule"], told["mode"]) == ("new", "poll")
    change(monitor, thresholds=thresholds(HIGH), rules=[rule | {"thresholds": {"recv": HIGH}}])
    receiver.first(event="cleared", id=told["id"])
    change(monitor, thresholds=thresholds(HIGH), rules=[{**rule, "match": {"process": "py*"}}])
    until(
        lambda: len(receiver.alerts(event="exceeded", local_port=port(server), type="RECV")) == 2,
        "the second",
    )
    change(monitor, thresholds=thresholds(HIGH), rules=[])
    until(lambda: len(receiver.alerts(event="cleared", local_port=port(server), type="RECV")) == 2, "its end")
    assert monitor.stop() == 0


@pytest.mark.parametrize("start_monitor", ["answers"], indirect=True)
def test_a_connection_is_judged_by_its_rule_before_it_is_accepted_and_then_asked_for_no_more(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    monitor = start_monitor(
        thresholds=thresholds(HIGH),
        rules=[
            {"match": {"local_port": 1}, "thresholds": {"recv": LOW}},
            {"name": "ours", "match": {"local_port": port(listener)}, "thresholds": {"recv": FILL - 1}},
        ],
    )
    client = stack.enter_context(socket.create_connection(listener.getsockname()))
    for _ in range(FILL // 1000 - 1):
        client.sendall(bytes(1000))  # over the least threshold from the eleventh on
    until(lambda: monitor.counted()["events"], "that it was asked for")
    assert not receiver.alerts(local_port=port(listener))
    client.sendall(bytes(FILL % 1000 + 1000))
    told = receiver.first(event="exceeded", local_port=port(listener), type="RECV")
    assert (told["rule"], told["threshold"], told["mode"]) == ("ours", str(FILL - 1), "ebpf")
    server, _ = listener.accept()
    stack.enter_context(server)
    drain(server, FILL)
    receiver.first(event="cleared", local_port=port(listener), type="RECV")

    def events() -> int:
        monitor.counted()  # those that came until then are read
        return monitor.counted()["events"]

    def asked() -> int:
        """Return how many events come while it crosses again and again: sockets of others are asked for too."""
        before = events()
        for _ in range(30):
            client.sendall(bytes(LOW + 1))
            drain(server, LOW + 1)
        return events() - before

    until(lambda: asked() == 0, "that it is asked for no more")
    monitor.stop()
    assert len(receiver.alerts(local_port=port(listener))) == 2
