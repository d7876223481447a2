# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a guest does before it is reset, and in its next boot: `python3 -m tests.vm.rebooted before|after`.

Queues are over while a monitor runs whose journal is on the disk that is kept. What it tells is printed, a line of
JSON each: it has left the guest when the guest is reset.
"""

from __future__ import annotations

import json
import signal
import socket
import sys
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler
from pathlib import Path

from tests.live.monitoring import launch, thresholds
from tests.live.receiver import Receiver, receiving
from tests.live.sockets import udp_socket

KEPT = Path("/kept")
UNREAD = 30_011
PORTS = range(40_001, 40_004)
"""The servers' ports; the client's of each is ten more: in both boots the same."""

STILL = PORTS[0]
"""The one whose queue is over in the next boot too."""


def main() -> None:
    before = sys.argv[1] == "before"
    with ExitStack() as stack:
        receiver = stack.enter_context(receiving())
        receiver.answer = lambda handler: answer(receiver, handler)
        if not before:  # so that the first look finds it
            fill(stack, STILL)
        settings = {
            "thresholds": thresholds(20_011),
            "events": ["exceeded", "ongoing", "cleared", "started", "stopped"],
            "heartbeat": "1s",
            "repeat": "1s",
            "journal": {"path": str(KEPT / "journal")},
        }
        monitor = launch(KEPT / sys.argv[1], receiver.url, settings)
        stack.callback(monitor.stop, signal.SIGKILL)
        monitor.wait_armed()
        if before:
            for port in PORTS:
                fill(stack, port)
            reader = udp_socket(stack)
            udp_socket(stack).sendto(bytes(UNREAD), reader.getsockname())
            for port in (*PORTS, reader.getsockname()[1]):
                receiver.first(event="ongoing", type="RECV", local_port=port)
            Path("/proc/sysrq-trigger").write_text("b")  # at once: nothing is written back, nobody is told
        receiver.first(event="started")
        receiver.first(event="ongoing", local_port=STILL)
        receiver.count(len(PORTS) + 1, event="cleared")


def answer(receiver: Receiver, handler: BaseHTTPRequestHandler) -> None:
    sys.stdout.write(f"{json.dumps(receiver.told[-1][1])}\n")  # in one piece: alerts come side by side
    sys.stdout.flush()
    handler.send_response(204)
    handler.end_headers()


def fill(stack: ExitStack, port: int) -> None:
    """Leave a receive queue of this port over its threshold."""
    server = stack.enter_context(socket.create_server(("127.0.0.1", port)))
    client = stack.enter_context(socket.socket())
    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.bind(("127.0.0.1", port + 10))
    client.connect(server.getsockname())
    stack.enter_context(server.accept()[0])
    client.sendall(bytes(UNREAD))


if __name__ == "__main__":
    main()
