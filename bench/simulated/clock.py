# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The clock of a simulated fleet, which runs faster than time by a factor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable


class Clock:
    """Unix seconds. What hosts wait for goes by it; what a store does takes as long as it takes."""

    def __init__(self, factor: float, seconds: float) -> None:
        """Begin so that after `seconds` simulated ones it has about the present time."""
        self.factor = factor
        self._begun_s = time.monotonic()
        self.begins_s = time.time() + seconds / factor - seconds
        self.ends_s = self.begins_s + seconds

    def begin(self) -> None:
        """Begin again, now."""
        self._begun_s = time.monotonic()

    def now_s(self) -> float:
        return self.begins_s + (time.monotonic() - self._begun_s) * self.factor

    async def until(self, at_s: float) -> None:
        await asyncio.sleep((at_s - self.now_s()) / self.factor)

    def call_at(self, at_s: float, call: Callable[[], None]) -> asyncio.TimerHandle:
        wait_s = max(0.0, at_s - self.now_s()) / self.factor
        return asyncio.get_running_loop().call_later(wait_s, call)
