# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""SIGHUP: new settings without a gap, bad ones refused; and the words that are asked for now and then."""

from __future__ import annotations

import json
import urllib.request
from contextlib import ExitStack
from pathlib import Path

from tests.live.bpf import bpf_ids
from tests.live.monitoring import StartMonitor, thresholds
from tests.live.ports import free_port
from tests.live.receiver import Receiver, receiving
from tests.live.reloading import change, hang_up
from tests.live.sockets import drain, port, tcp_pair
from tests.live.waiting import until

UNREAD = 30_011


def test_thresholds_change_while_it_watches(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    monitor = start_monitor(thresholds=thresholds(50_021))
    programs = bpf_ids(monitor.pid, "prog_id")
    client, server = tcp_pair(stack)
    quiet = {"type": "RECV", "local_port": port(server)}
    client.sendall(bytes(UNREAD))
    change(monitor, thresholds=thresholds(20_011))
    told = receiver.first(event="exceeded", **quiet)
    assert (told["size"], told["threshold"], told["mode"]) == (str(UNREAD), "20011", "poll"), (
        "it stood there before"
    )
    other, reader = tcp_pair(stack)
    other.sendall(bytes(UNREAD))
    assert receiver.first(event="exceeded", local_port=port(reader), type="RECV")["mode"] == "ebpf"
    change(monitor, thresholds=thresholds(50_021))
    receiver.first(event="cleared", id=told["id"])
    receiver.first(event="cleared", local_port=port(reader), type="RECV")
    drain(server, UNREAD)
    client.sendall(bytes(UNREAD))
    change(monitor, repeat="1s")
    assert len(receiver.alerts(event="exceeded", **quiet)) == 1
    assert bpf_ids(monitor.pid, "prog_id") == programs, "nothing was attached anew"


def test_bad_settings_are_refused_with_their_faults(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    monitor = start_monitor(thresholds=thresholds(20_011))
    change(monitor, thresholds={"send": "lots"}, repaet="1s")
    assert "the settings are kept" in monitor.log()
    assert "thresholds > send: expected a size such as 64KiB or 80%, got 'lots'" in monitor.log()
    assert "did you mean 'repeat'?" in monitor.log()
    client, server = tcp_pair(stack)
    client.sendall(bytes(UNREAD))
    assert receiver.first(event="exceeded", local_port=port(server), type="RECV")["threshold"] == "20011"


def test_destinations_come_and_go(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, tmp_path: Path
) -> None:
    other = stack.enter_context(receiving())
    lines = tmp_path / "alerts.jsonl"
    monitor = start_monitor(thresholds=thresholds(20_011))
    client, server = tcp_pair(stack)

    def burst() -> None:
        client.sendall(bytes(UNREAD))
        drain(server, UNREAD)

    burst()
    receiver.count(1, event="cleared", local_port=port(server), type="RECV")
    change(
        monitor,
        destinations=[
            {"type": "http", "name": "other", "url": other.url, "events": ["exceeded"]},
            {"type": "file", "path": str(lines)},
        ],
    )
    burst()
    receiver.count(2, event="cleared", local_port=port(server), type="RECV")
    other.count(1, event="exceeded", local_port=port(server), type="RECV")
    until(lambda: lines.exists() and written(lines, port(server)) == ["exceeded", "cleared"], "both lines")
    change(monitor, destinations=[])
    burst()
    receiver.count(3, event="cleared", local_port=port(server), type="RECV")
    assert len(other.alerts(local_port=port(server), type="RECV")) == 1
    assert monitor.stop() == 0
    assert monitor.counters()["given_up"] == 0


def test_what_cannot_change_is_said(start_monitor: StartMonitor) -> None:
    monitor = start_monitor()
    change(monitor, kernel={"hooks": "none"}, store={"keep": "7d"}, heartbeat="1s")
    until(lambda: "not taken over before the next start: kernel, store" in monitor.log(), "the warning")
    hang_up(monitor)
    assert monitor.log().count("not taken over before") == 2, "it runs by others still"


def written(lines: Path, number: int) -> list[str]:
    """Return the events of this reader that a file of JSON lines holds."""
    told = [json.loads(line) for line in lines.read_text().splitlines()]
    return [each["event"] for each in told if (each["local_port"], each["type"]) == (number, "RECV")]


def test_heartbeat_and_metrics_say_the_same(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack
) -> None:
    listen = f"127.0.0.1:{free_port()}"
    settings = {"thresholds": thresholds(20_011), "heartbeat": "1s", "metrics": {"listen": listen}}
    monitor = start_monitor(**settings, labels={"role": "db", "dc": "fra1"})
    client, server = tcp_pair(stack)
    client.sendall(bytes(UNREAD))
    told = receiver.first(event="exceeded", local_port=port(server), type="RECV")
    receiver.first(event="heartbeat")
    until(lambda: int(receiver.alerts(event="heartbeat")[-1]["seq"]) >= int(told["seq"]), "one after it")
    beat = receiver.alerts(event="heartbeat")[-1]
    assert int(beat["open_episodes"]) >= 1
    assert beat["labels"] == "dc=fra1;role=db"
    assert beat["lost_submit"] == beat["dropped"] == beat["given_up"] == "0"

    def shown(name: str) -> float:
        with urllib.request.urlopen(f"http://{listen}/metrics") as answer:
            lines = answer.read().decode().splitlines()
        return next(float(line.rpartition(" ")[2]) for line in lines if line.startswith(f"{name} "))

    assert shown("sockbpf_alerts_total") >= int(told["seq"])
    assert shown("sockbpf_open_episodes") >= 1
    until(lambda: shown('sockbpf_owed{destination="http"}') <= 1, "nothing piles up")
    delivered = 'sockbpf_crossing_to_delivered_seconds_count{destination="http"}'
    until(lambda: shown(delivered) >= 1, "its delivery, which it knows of once it is answered")
    change(monitor, labels={"role": "a;b=c"})
    until(lambda: receiver.alerts(event="heartbeat")[-1]["labels"] == "role=a%3Bb=c", "the other labels")
    assert monitor.stop() == 0


def test_hold(start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack) -> None:
    """What is over for less is not told at all; what stays is told with the crossing's time."""
    monitor = start_monitor(thresholds=thresholds(20_011), hold="1s")
    client, server = tcp_pair(stack)
    for _ in range(101):
        client.sendall(bytes(UNREAD))
        drain(server, UNREAD)
    client.sendall(bytes(UNREAD))
    told = receiver.first(event="exceeded", local_port=port(server), type="RECV")
    (late_s,) = [
        at - float(alert["timestamp"])
        for at, alert in receiver.told
        if (alert["event"], alert["id"]) == ("exceeded", told["id"])
    ]
    print(f"told {late_s:.3f} s after the crossing")
    assert late_s >= 1
    drain(server, UNREAD)
    receiver.first(event="cleared", id=told["id"])
    assert len(receiver.alerts(local_port=port(server), type="RECV")) == 2
    assert monitor.stop() == 0
    assert monitor.counters()["held_back"] >= 101
