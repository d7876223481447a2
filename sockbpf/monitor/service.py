# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Notifies a service manager, such as systemd, of the monitor's state: sd_notify(3), one datagram for each message.

Without NOTIFY_SOCKET in the environment nothing is sent. A message that cannot be sent is dropped.
"""

from __future__ import annotations

import math
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING

from sockbpf.process.clock import monotonic_s

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

PARTS = 3
"""Messages in each interval of the watchdog: sd_watchdog_enabled(3) asks for two, and one may get lost."""


class Service:
    """Sends the messages. Only the loop that must not hang may call `alive`, no other thread."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Read from the environment where messages go, and how often the watchdog expects one."""
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._every_s = _watchdog_s(environment) / PARTS if address else math.inf
        self.due_s = 0.0 if self._every_s < math.inf else math.inf
        """When `alive` must be called next, monotonic seconds; infinity where no watchdog waits for it."""

    def ready(self, status: str) -> None:
        """Say that the start is over; `status` is the line that `systemctl status` shows."""
        self._notify(f"READY=1\nSTATUS={status}")

    def alive(self, is_well: Callable[[], bool] = lambda: True) -> None:
        """Notify the watchdog, if that is due and all is well."""
        now_s = monotonic_s()
        if now_s >= self.due_s:
            self.due_s = now_s + self._every_s
            if is_well():
                self._notify("WATCHDOG=1")

    def status(self, line: str) -> None:
        """Set the line that `systemctl status` shows."""
        self._notify(f"STATUS={line}")

    def stopping(self) -> None:
        """Say that the monitor is stopping."""
        self._notify("STOPPING=1")

    def _notify(self, words: str) -> None:
        if not self._address:
            return
        # The manager may be gone, or read so slowly that its queue is full: the loop goes on all the same.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.setblocking(False)
            manager.sendto(words.encode(), self._address)


def _watchdog_s(environment: Mapping[str, str]) -> float:
    """Return the interval within which the watchdog expects a message; infinity where none watches this process."""
    with suppress(KeyError, ValueError):
        interval_s = int(environment["WATCHDOG_USEC"]) / 1e6
        if interval_s > 0 and int(environment.get("WATCHDOG_PID", os.getpid())) == os.getpid():
            return interval_s
    return math.inf
