# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Whether the database can be written and read: what `/healthz` says."""

from __future__ import annotations

import asyncio
import math
import time
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from sockbpf.store.data.episode_search import read_something
from sockbpf.store.data.probe import probe
from sockbpf.store.data.writing import Broken, BusyError
from sockbpf.store.web.problem import Problem, busy

if TYPE_CHECKING:
    from sockbpf.store.web.running_store import RunningStore

MOST_S = 5.0
"""How long one write, and one read, of a healthy database takes at most."""
INTERVAL_S = 1.0
"""From one test of the database to the next, however often a client asks."""


class Health:
    """Tests the database as an alert uses it: once a second at most, only when a client asks."""

    def __init__(self, store: RunningStore) -> None:
        self._store = store
        self._testing = asyncio.Lock()
        self._tested_s = -math.inf
        self._broken: Broken | None = None

    async def check(self) -> None:
        """Raise Problem if the database cannot be written or read; its text says why, and since when."""
        async with self._testing:
            has_changed = (self._broken is None) != (self._store.writer.broken is None)
            if has_changed or time.monotonic() - self._tested_s > INTERVAL_S:
                why = await self._test()
                self._broken = self._since_the_first(why) if why else None
                self._tested_s = time.monotonic()
        if self._broken:
            since = datetime.fromtimestamp(self._broken.since_s, timezone.utc).isoformat(timespec="seconds")
            raise Problem(503, f"{self._broken.why}; since {since}", retry_after="1")

    def _since_the_first(self, why: str) -> Broken:
        broken = self._store.writer.broken or Broken(why, time.time())
        return self._broken or Broken(why, broken.since_s)

    async def _test(self) -> str:
        """Return why the database cannot be written or read, an empty text if it can."""
        try:
            await asyncio.wait_for(asyncio.wrap_future(self._store.writer.call(probe)), MOST_S)
            await asyncio.wait_for(self._store.search(read_something, is_trusted=True), MOST_S)
        except BusyError:
            return self._store.writer.broken.why if self._store.writer.broken else busy().detail
        except asyncio.TimeoutError:
            return "the database takes too long"
        except Problem as problem:
            return problem.detail
        return ""
