# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What ends the loop's sleep: the hooks' buffers, and calls of `wake`."""

from __future__ import annotations

import os
import select
from contextlib import suppress


class Waking:
    """One sleeper; `wake` may be called by any thread or signal handler."""

    def __init__(self) -> None:
        self._woken = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._epoll = select.epoll()
        self.wake_by(self._woken)

    def wake_by(self, descriptor: int) -> None:
        """Wake up from now on when this descriptor is readable."""
        self._epoll.register(descriptor, select.EPOLLIN)

    def wake(self) -> None:
        """End the sleep now; if the loop does not sleep, its next sleep ends at once."""
        os.eventfd_write(self._woken, 1)

    def sleep(self, seconds: float) -> None:
        """Sleep for this long, or until a descriptor is readable or `wake` is called."""
        self._epoll.poll(seconds)
        with suppress(BlockingIOError):
            os.eventfd_read(self._woken)
