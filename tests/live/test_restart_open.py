# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A restart goes on with the episodes of what is still over, and ends those of what is not: each is told once."""

from __future__ import annotations

import signal
import socket
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.live.monitoring import Monitor, launch, thresholds
from tests.live.receiver import Receiver
from tests.live.sockets import drain, fill, listener, port, tcp_pair, udp_socket
from tests.live.waiting import until

MANY = 1000
SETTINGS: dict[str, Any] = {
    "thresholds": thresholds(20_011),
    "events": ["exceeded", "ongoing", "cleared", "started", "stopped"],
    "repeat": "1s",
}
UNREAD = 30_011
PAIRS = 7


@pytest.fixture
def started(receiver: Receiver, stack: ExitStack, tmp_path: Path) -> Callable[..., Monitor]:
    """Return what starts the run of this number, all with one journal, and waits until it is armed."""

    def start(number: int, **more: Any) -> Monitor:
        settings = SETTINGS | {"journal": {"path": str(tmp_path / "journal")}} | more
        monitor = launch(tmp_path / f"run{number}", receiver.url, settings)
        stack.callback(monitor.stop, signal.SIGKILL)
        monitor.wait_armed()
        return monitor

    return start


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_is_over_across_a_restart(
    receiver: Receiver, stack: ExitStack, started: Callable[..., Monitor], how: signal.Signals
) -> None:
    first = started(1)
    stays = [tcp_pair(stack) for _ in range(PAIRS)]
    goes_client, goes = tcp_pair(stack)
    for client in (*(client for client, _ in stays), goes_client):
        client.sendall(bytes(UNREAD))
    blocked, deaf = tcp_pair(stack)
    fill(blocked)
    udp, writer = udp_socket(stack), udp_socket(stack)
    writer.sendto(bytes(UNREAD), udp.getsockname()[:2])
    queues: list[dict[str, object]] = [
        *({"type": "RECV", "local_port": port(server)} for _, server in stays),
        {"type": "SEND", "local_port": port(blocked)},
        {"type": "RECV", "local_port": port(deaf)},
        {"type": "RECV", "protocol": "udp", "local_port": port(udp)},
    ]
    gone = {"type": "RECV", "local_port": port(goes)}
    told = {str(queue): receiver.first(event="exceeded", **queue) for queue in (*queues, gone)}
    for queue in (*queues, gone):
        receiver.first(event="ongoing", **queue)
    first.stop(how)
    drain(goes, UNREAD)

    started(2, thresholds=thresholds(20_007))  # with others
    run = receiver.count(2, event="started")[-1]["run"]
    for queue in queues:
        goes_on = receiver.first(event="ongoing", run=run, **queue)
        before = told[str(queue)]
        assert goes_on["id"] == before["id"]
        since = float(goes_on["timestamp"]) - float(goes_on["duration"])
        assert since == pytest.approx(float(before["timestamp"]), abs=0.01)
        assert len(receiver.alerts(event="exceeded", **queue)) == 1
    ended = receiver.first(event="cleared", **gone)
    assert (ended["id"], ended["run"]) == (told[str(gone)]["id"], run)
    assert "it ended between" in ended["reason"]
    assert not [queue for queue in queues if receiver.alerts(event="cleared", **queue)]

    for _, server in stays:
        drain(server, UNREAD)
    for _, server in stays:
        queue = {"type": "RECV", "local_port": port(server)}
        assert receiver.first(event="cleared", **queue)["id"] == told[str(queue)]["id"]
    client, server = stays[0]
    client.sendall(bytes(UNREAD))
    again = receiver.count(2, event="exceeded", type="RECV", local_port=port(server))[-1]
    assert again["id"] != told[str(queues[0])]["id"]


def standing(receiver: Receiver, local_port: int) -> dict[str, int]:
    """Return of how many sockets each alert speaks that was told and has not ended, by id."""
    counts: dict[str, int] = {}
    once = {
        alert["seq"]: alert for alert in receiver.alerts(local_port=local_port)
    }  # a kill may have one come twice
    for alert in once.values():
        if alert["event"] == "cleared":
            counts.pop(alert["id"], None)
        elif alert["event"] == "exceeded":
            counts[alert["id"]] = counts.get(alert["id"], 0) + int(alert.get("count", 1))
    return counts


@pytest.mark.parametrize("above", [0, 20])
def test_of_a_thousand_that_stay_over_none_is_told_anew(
    receiver: Receiver, stack: ExitStack, started: Callable[..., Monitor], above: int
) -> None:
    """Each by itself, or most of them by one alert for all, which goes on too."""
    more = {"fold": {"above": above, "window": "1s"}}
    first = started(1, **more)
    server = listener(stack, "ipv4")
    at, held = port(server), []
    for _ in range(MANY):
        client = stack.enter_context(socket.create_connection(server.getsockname()))
        held.append(stack.enter_context(server.accept()[0]))
        client.sendall(bytes(UNREAD))
    until(lambda: sum(standing(receiver, at).values()) == MANY, "all are told")
    before = standing(receiver, at)
    assert (len(before) < MANY) == (above > 0)
    first.stop(signal.SIGKILL)

    started(2, **more)
    run = receiver.count(2, event="started")[-1]["run"]

    def going_on() -> dict[str, int]:
        told = receiver.alerts(event="ongoing", run=run, local_port=at)
        return {alert["id"]: int(alert.get("count", 1)) for alert in told}

    until(lambda: len(going_on()) == len(before), "all go on")
    assert going_on() == before
    assert standing(receiver, at) == before
    assert not receiver.alerts(event="exceeded", run=run, local_port=at)
    for accepted in held:
        drain(accepted, UNREAD)
    until(lambda: not standing(receiver, at), "all have ended")
    ended = {
        alert["seq"]: int(alert.get("count", 1))
        for alert in receiver.alerts(event="cleared", run=run, local_port=at)
    }
    assert sum(ended.values()) == MANY
    assert not receiver.alerts(event="exceeded", run=run, local_port=at)
