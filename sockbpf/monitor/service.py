# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a service manager is told of the monitor: the protocol of sd_notify(3), one datagram for each word.

Where none asks for it, by NOTIFY_SOCKET of the environment, nothing is done; what cannot be told is not missed.
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
"""How often in a watchdog's interval it is told: sd_watchdog_enabled(3) asks for twice, one more may get lost."""


class Service:
    """Tells the manager. `alive` belongs into the loop that must not hang, and into no other thread."""

    def __init__(self, environment: Mapping[str, str] = os.environ) -> None:
        """Read from the environment who is to be told, and how often."""
        address = environment.get("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        self._every_s = _watchdog_s(environment) / PARTS if address else math.inf
        self.due_s = 0.0 if self._every_s < math.inf else math.inf
        """When `alive` is to be called next, on the monotonic clock: never, where no watchdog waits for it."""

    def ready(self, status: str) -> None:
        """Tell that the start is over; `status` is one line for whoever asks the manager."""
        self._tell(f"READY=1\nSTATUS={status}")

    def alive(self, is_well: Callable[[], bool] = lambda: True) -> None:
        """Tell the watchdog, if it is due and all is well."""
        now_s = monotonic_s()
        if now_s >= self.due_s:
            self.due_s = now_s + self._every_s
            if is_well():
                self._tell("WATCHDOG=1")

    def status(self, line: str) -> None:
        """Tell in one line how it stands."""
        self._tell(f"STATUS={line}")

    def stopping(self) -> None:
        """Tell that the end has begun."""
        self._tell("STOPPING=1")

    def _tell(self, words: str) -> None:
        if not self._address:
            return
        # It may be gone, or not read for so long that its queue is full: the loop goes on all the same.
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            manager.setblocking(False)
            manager.sendto(words.encode(), self._address)


def _watchdog_s(environment: Mapping[str, str]) -> float:
    """Return the interval after which a watchdog loses patience; infinity where none watches this process."""
    with suppress(KeyError, ValueError):
        interval_s = int(environment["WATCHDOG_USEC"]) / 1e6
        if interval_s > 0 and int(environment.get("WATCHDOG_PID", os.getpid())) == os.getpid():
            return interval_s
    return math.inf
