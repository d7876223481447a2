# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A restart goes on with the episodes of what is still over, and ends those of what is not: each is told once."""

from __future__ import annotations

import signal
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.live.monitoring import Monitor, launch, thresholds
from tests.live.receiver import Receiver
from tests.live.sockets import drain, fill, port, tcp_pair, udp_socket

SETTINGS: dict[str, Any] = {
    "thresholds": thresholds(20_011),
    "events": ["exceeded", "ongoing", "cleared", "started", "stopped"],
    "repeat": "1s",
}
UNREAD = 30_011
PAIRS = 7


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
def test_what_is_over_across_a_restart(
    receiver: Receiver, stack: ExitStack, tmp_path: Path, how: signal.Signals
) -> None:
    def started(number: int, **more: Any) -> Monitor:
        settings = SETTINGS | {"journal": {"path": str(tmp_path / "journal")}} | more
        monitor = launch(tmp_path / f"run{number}", receiver.url, settings)
        stack.callback(monitor.stop, signal.SIGKILL)
        monitor.wait_armed()
        return monitor

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
