# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A destination that falls behind its rate gets what is now, and every alert is sent or counted; others get all."""

from __future__ import annotations

import signal
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.live.monitoring import Monitor, StartMonitor
from tests.live.ours import only_ours
from tests.live.receiver import Receiver, receiving
from tests.live.sockets import port, tcp_pair, udp_socket
from tests.live.waiting import until

THRESHOLD, DATAGRAM = 20_011, 30_011
CROSSINGS = 1_009
RATE, BURST = 1.0, 10


@pytest.fixture
def slow(stack: ExitStack) -> Receiver:
    """Run the receiver of the destination that has a rate."""
    return stack.enter_context(receiving())


def cross(stack: ExitStack, reader: socket.socket, times: int) -> None:
    """Have one queue cross and come back so often: each time is an episode."""
    writer = udp_socket(stack)
    for _ in range(times):
        writer.sendto(bytes(DATAGRAM), reader.getsockname())
        assert len(reader.recv(DATAGRAM)) == DATAGRAM


def settings_for(slow: Receiver, tmp_path: Path, *local_ports: int) -> dict[str, Any]:
    return {
        "rules": only_ours(*local_ports),
        "thresholds": {"send": "1GiB", "recv": THRESHOLD},
        "repeat": "1h",
        "journal": {"path": str(tmp_path / "journal")},
        "destinations": [{"type": "http", "name": "slow", "url": slow.url, "rate": RATE, "burst": BURST}],
    }


def accounted(slow: Receiver) -> int:
    """Return how many alerts were sent, each once, or are counted by one that was."""
    sent = {(told["id"], told["event"], told["seq"]): told for _, told in list(slow.told)}
    return len(sent) + sum(int(told.get("unsent", "0")) for told in sent.values())


def still_over(receiver: Receiver) -> set[str]:
    """Return the episodes of which it has heard no end."""
    events = [(told["id"], told["event"]) for _, told in list(receiver.told)]
    begun = {id_ for id_, event in events if event == "exceeded"}
    return begun - {id_ for id_, event in events if event == "cleared"}


def cross_and_stay(client: socket.socket, server: socket.socket, slow: Receiver) -> float:
    """Have another queue cross; return how many seconds later the slow destination got the alert."""
    client.sendall(bytes(DATAGRAM))

    def arrived() -> list[float]:
        return [
            at - float(told["timestamp"])
            for at, told in list(slow.told)
            if (told["event"], told["local_port"]) == ("exceeded", str(port(server)))
        ]

    return float(until(arrived, "the new incident")[0])


@pytest.mark.timeout(300)
def test_a_new_incident_is_told_soon_and_what_ended_as_one(
    start_monitor: StartMonitor, receiver: Receiver, slow: Receiver, stack: ExitStack, tmp_path: Path
) -> None:
    reader, (client, server) = udp_socket(stack), tcp_pair(stack)
    monitor = start_monitor(**settings_for(slow, tmp_path, port(reader), port(server)))
    cross(stack, reader, CROSSINGS)
    until(lambda: len(receiver.alerts(event="cleared")) >= CROSSINGS, "all told elsewhere", 120)
    late_s = cross_and_stay(client, server, slow)
    until(lambda: accounted(slow) >= len(receiver.told), "all sent or counted", 120)
    monitor.stop()
    counts = monitor.counters()
    print(
        f"{len(receiver.told)} alerts to one destination, {len(slow.told)} to the slow one, which heard of the new "
        f"incident after {late_s:.2f} s; summarised: {counts['summarised']}"
    )
    assert late_s < 10  # one after the other all would take half an hour
    assert accounted(slow) == len(receiver.told) == counts["alerts"]
    assert counts["summarised"] == counts["alerts"] - len(slow.told) > CROSSINGS
    assert sorted(int(told["seq"]) for _, told in receiver.told) == list(range(1, counts["alerts"] + 1))
    assert not [told for _, told in receiver.told if "ended" in told]


@pytest.mark.timeout(300)
def test_killed_meanwhile_nothing_is_lost(
    start_monitor: StartMonitor, receiver: Receiver, slow: Receiver, stack: ExitStack, tmp_path: Path
) -> None:
    reader = udp_socket(stack)
    settings = settings_for(slow, tmp_path, port(reader))
    killed: list[Monitor] = [start_monitor(**settings)]
    cross(stack, reader, CROSSINGS)
    until(lambda: len(receiver.alerts(event="cleared")) >= CROSSINGS // 2, "half of it", 120)
    killed[0].stop(signal.SIGKILL)
    settings["destinations"][0] |= {"rate": 1000, "burst": 1000}
    start_monitor(**settings)
    until(
        lambda: accounted(slow) >= len({told["seq"] for _, told in receiver.told}), "all sent or counted", 120
    )
    print(f"{len(receiver.told)} alerts to one destination, {len(slow.told)} to the slow one")
    until(lambda: still_over(slow) <= still_over(receiver), "no end is left out of what was begun")
