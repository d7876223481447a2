# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A run of the monitor tells that it has started, after its first look, and that it stops; a killed one does not."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.live.monitoring import Monitor, launch, thresholds
from tests.live.ours import only_ours
from tests.live.receiver import Receiver
from tests.live.sockets import port, tcp_pair

SETTINGS: dict[str, Any] = {
    "thresholds": thresholds(20_011),
    "events": ["exceeded", "ongoing", "cleared", "started", "stopped"],
    "heartbeat": "1s",
}
UNREAD = 30_011


def run_of(receiver: Receiver, number: int) -> str:
    return receiver.count(number, event="started")[-1]["run"]


def test_each_run_has_a_name_a_beginning_and_an_end(
    receiver: Receiver, stack: ExitStack, tmp_path: Path
) -> None:
    client, server = tcp_pair(stack)
    ours = SETTINGS | {"rules": only_ours(port(server))}

    def started(name: str) -> Monitor:
        monitor = launch(tmp_path / name, receiver.url, ours)
        stack.callback(monitor.stop, signal.SIGKILL)
        monitor.wait_armed()
        return monitor

    first = started("first")
    run = run_of(receiver, 1)
    client.sendall(bytes(UNREAD))
    over = receiver.first(event="exceeded", type="RECV", local_port=port(server))
    beats = receiver.first(event="heartbeat")
    assert over["run"] == beats["run"] == run
    begun = receiver.first(event="started")
    assert (begun["id"], begun["mode"], begun["host"]) == (run, over["mode"], over["host"])
    assert int(begun["seq"]) < int(over["seq"])
    assert begun["kernel"]
    assert (begun["repeat"], begun["heartbeat"]) == (beats["repeat"], beats["heartbeat"]) == ("60.0", "1.0")
    assert first.stop() == 0
    ended = receiver.first(event="stopped")
    assert (ended["run"], ended["open_episodes"]) == (run, "1")
    assert int(ended["seq"]) > int(over["seq"])

    second = started("second")
    assert run_of(receiver, 2) != run
    assert receiver.alerts(event="started")[-1]["open_episodes"] == "1", "it tells what it found over"
    second.stop(signal.SIGKILL)
    started("third")
    assert len({told["run"] for told in receiver.count(3, event="started")}) == 3
    assert len(receiver.alerts(event="stopped")) == 1
