# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Other rules, again and again, while queues go over and back: each is judged by one list alone, and none is lost."""

from __future__ import annotations

import threading
from collections import Counter
from contextlib import ExitStack
from typing import Any

import pytest

from tests.live.monitoring import StartMonitor, thresholds
from tests.live.receiver import Receiver
from tests.live.reloading import change
from tests.live.sockets import drain, port, tcp_pair, udp_socket
from tests.live.waiting import until

UNREAD, HIGH = 30_011, 1_000_003
LISTS = {"one": 10_007, "two": 20_011}
"""Of each list its name and its threshold: each queue here is over both."""
RELOADS = 17


class Crossing(threading.Thread):
    """Has a TCP and a UDP queue go over and back, in turns, until it is told to stop; counts how often."""

    def __init__(self, stack: ExitStack) -> None:
        super().__init__()
        self.client, self.server = tcp_pair(stack)
        self.receiver, self.sender = udp_socket(stack), udp_socket(stack)
        self.times = 0
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.wait(0.004):
            self.client.sendall(bytes(UNREAD))
            self.sender.sendto(bytes(UNREAD), self.receiver.getsockname())
            drain(self.server, UNREAD)
            self.receiver.recv(UNREAD)
            self.times += 1


def rules(name: str, ports: list[int]) -> list[dict[str, Any]]:
    """Return a list by which both queues are judged by its last rule, behind others that fit neither."""
    conditions: list[dict[str, Any]] = [
        {"local_port": 1}, {"remote_ip": "192.0.2.0/24"}, {"user": 4_000_000}, {"netns": "nowhere"}
    ]  # fmt: skip
    before = [{"match": match, "ignore": True} for match in (conditions if name == "one" else conditions[:2])]
    last = {"name": name, "match": {"local_port": ports, "local_ip": "127.0.0.0/8"}}
    return [*before, last | {"thresholds": {"recv": LISTS[name]}}]


@pytest.mark.timeout(120)
def test_no_queue_is_judged_by_a_mixture_and_none_is_lost(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    crossing = Crossing(stack)
    stack.callback(crossing.stop.set)
    ports = [port(crossing.server), port(crossing.receiver)]
    settings = {"thresholds": thresholds(HIGH), "flapping": {"above": 0}, "fold": {"above": 0}}
    monitor = start_monitor(**settings, rules=rules("one", ports))
    crossing.start()
    for number in range(RELOADS):
        change(monitor, rules=rules(("two", "one")[number % 2], ports))
    crossing.stop.set()
    crossing.join()
    assert crossing.times > RELOADS

    def told(event: str, number: int) -> list[dict[str, str]]:
        return receiver.alerts(event=event, local_port=number, type="RECV")

    wanted = dict.fromkeys(("exceeded", "cleared"), [crossing.times] * len(ports))
    until(
        lambda: {event: [len(told(event, each)) for each in ports] for event in wanted} == wanted,
        "the alerts of each time over, and no other",
    )
    for number in ports:
        judged = Counter((alert["rule"], int(alert["threshold"])) for alert in told("exceeded", number))
        print(f"{crossing.times} times over, {RELOADS} lists of rules: {dict(judged)}")
        assert judged.keys() == set(LISTS.items())
        assert {alert["mode"] for alert in told("exceeded", number)} == {"ebpf"}
        ends = {(alert["id"], alert["rule"], alert["threshold"]) for alert in told("cleared", number)}
        assert ends == {
            (alert["id"], alert["rule"], alert["threshold"]) for alert in told("exceeded", number)
        }
    assert monitor.stop() == 0
    counters = monitor.counters()
    assert (counters["lost_submit"], counters["reload_failed"]) == (0, 0)
