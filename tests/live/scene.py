# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a scene of a cause is: a real socket whose queue is over, and what must be said of it."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass

from tests.live.sockets import port

ABOVE = 20_011
"""The thresholds, bytes: far below any buffer."""
UNREAD = 30_011
NOBODY, TINY, ABOVE_LITTLE = 9, 7, 1003
"""The ports at which nobody answers, and to which a tiny buffer sends; the threshold for what is sent there."""


@dataclass(frozen=True)
class Scene:
    """A queue: its alert, and what must be said of it by the last alert at the latest."""

    queue: dict[str, object]
    cause: str
    confidence: str
    says: str
    """What is in the reason."""


def of(sock: socket.socket, kind: str, protocol: str = "tcp") -> dict[str, object]:
    """Return how the alerts of a queue are known: sockets of two families, or to two servers, may have one port."""
    known: dict[str, object] = {"protocol": protocol, "type": kind, "local_port": port(sock)}
    if (ip := sock.getsockname()[0]) not in {"0.0.0.0", "::"}:
        known["local_ip"] = ip
    with suppress(OSError):  # it is not connected
        known["remote_port"] = sock.getpeername()[1]
    return known


MakeScene = Callable[[ExitStack, str], Scene]
"""What makes a scene of a family, until the stack is closed."""
