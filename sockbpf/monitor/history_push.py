# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What one store is still to get of the history, and the sending of it. While the store is away little is kept.

The history is not in the journal: an alert is worth more than what was below its threshold.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from typing import TYPE_CHECKING

from sockbpf.delivery.destinations.history_post import HistoryPost
from sockbpf.delivery.transport import TransportError, UnusableError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sockbpf.counters import Counters
    from sockbpf.delivery.destinations.history_post import Body
    from sockbpf.settings.destinations import BatchStoreSettings, HttpSettings

log = logging.getLogger(__name__)

MOST_BYTES = 4 * 2**20
MOST_BODIES = 240
"""So much is kept for a store that is away; of more, the oldest is dropped and counted."""


class HistoryPush:
    """For one thread at a time."""

    def __init__(
        self,
        settings: BatchStoreSettings | HttpSettings,
        place: Callable[[], tuple[str, int]] | None,
        counters: Counters,
    ) -> None:
        self.settings = settings
        self._place = place
        self._counters = counters
        self._post: HistoryPost | None = None
        self._waiting: deque[Body] = deque()
        self._bytes = 0
        self._fails = False

    def add(self, bodies: Iterable[Body]) -> None:
        """Have these sent after all that waits."""
        for body in bodies:
            self._waiting.append(body)
            self._bytes += len(body.data)
        while self._bytes > MOST_BYTES or len(self._waiting) > MOST_BODIES:
            self._lose(sum(self._first().samples))

    def send(self, beat: Callable[[], None], until_s: float = math.inf) -> None:
        """Send what waits, until the store does not take it, or until then, by the monotonic clock.

        `beat` is called before each request, and may `add` something.
        """
        while self._waiting and time.monotonic() < until_s:
            beat()
            if not self._waiting:
                return
            try:
                self._post = self._post or HistoryPost(self.settings, self._place)
                refused = self._post.send(self._waiting[0])
            except UnusableError as unusable:
                self._failed(str(unusable))
                return
            except TransportError as failed:
                self._failed(str(failed))
                if not failed.permanent:
                    return
                self._lose(sum(self._first().samples))
                continue
            self._first()
            if refused:
                self._failed(f"{refused} samples were refused, or are older than what it keeps")
                self._lose(refused)
            elif self._fails:
                self._fails = False
                log.info("the history is sent to %s again", self.settings.name)

    def close(self) -> None:
        """Let go of connections; what still waits is lost."""
        self._lose(sum(sum(body.samples) for body in self._waiting))
        self._waiting.clear()
        if self._post:
            self._post.close()

    def _first(self) -> Body:
        body = self._waiting.popleft()
        self._bytes -= len(body.data)
        return body

    def _lose(self, samples: int) -> None:
        if samples:
            self._counters.add("history_lost", samples, self.settings.name)

    def _failed(self, reason: str) -> None:
        """Log the first of several failures."""
        level = logging.DEBUG if self._fails else logging.WARNING
        self._fails = True
        log.log(level, "the history could not be sent to %s: %s", self.settings.name, reason)
