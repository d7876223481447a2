# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Two queues of a service are one incident at PagerDuty and a webhook: to the last of them, over a SIGKILL too."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.live.monitoring import StartMonitor, thresholds
from tests.live.ports import free_port
from tests.live.receiver import Receiver
from tests.live.sockets import drain
from tests.live.waiting import until
from tests.unit.pagerduty_service import KEY, pagerduty
from tests.unit.told_alerts import Answered, posted

THRESHOLD, OVER = 20_011, 30_011


def test_an_incident_is_one_over_a_kill(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, tmp_path: Path
) -> None:
    service = stack.enter_context(pagerduty())
    hook = stack.enter_context(posted(lambda _: Answered(200)))
    port = free_port()  # lower than those of clients, as services have
    server = stack.enter_context(socket.create_server(("127.0.0.1", port)))
    pairs = []
    for _ in range(2):
        client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
        pairs.append((client, stack.enter_context(server.accept()[0])))
    settings: dict[str, Any] = {
        "thresholds": thresholds(THRESHOLD),
        "journal": {"path": str(tmp_path / "journal")},
        "repeat": "1s",
        "destinations": [
            {"type": "pagerduty", "url": service.posts.url, "routing_key": KEY, "types": ["RECV"]},
            {
                "type": "webhook",
                "url": hook.url,
                "types": ["RECV"],
                "body": {"incident": "{incident}", "event": "{event}", "open": "{open}"},
            },
        ],
    }
    incident = f"{socket.gethostname()}/tcp {port}/root/{os.stat('/proc/self/ns/net').st_ino}"

    def hooked() -> list[tuple[str, int]]:
        told = [body for body in list(hook.bodies) if body["incident"] == incident]
        news = [(body["event"], body["open"]) for body in told if body["event"] != "ongoing"]
        return list(dict.fromkeys(news))  # a kill may have one sent twice

    def repeats() -> int:
        return sum((body["incident"], body["event"]) == (incident, "ongoing") for body in list(hook.bodies))

    first = start_monitor(**settings)
    for client, _ in pairs:
        known = len(hooked())
        client.sendall(bytes(OVER))
        until(lambda known=known: len(hooked()) > known, "the webhook")  # type: ignore[misc]
    until(lambda: len(service.open.get(incident, ())) == 2, "PagerDuty, of both")
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    drain(pairs[0][1], OVER)

    second = start_monitor(**settings)
    receiver.first(event="cleared", local_port=port, type="RECV")
    known = repeats()
    until(lambda: repeats() > known, "the other, which goes on")
    assert incident not in service.resolved
    assert hooked() == [("exceeded", 1), ("exceeded", 2)]
    drain(pairs[1][1], OVER)
    until(lambda: service.resolved.count(incident) == 1, "the end")
    until(lambda: hooked()[2:] == [("cleared", 0)], "the end at the webhook")
    assert second.stop() == 0
    assert not service.refused
    assert incident not in service.open
