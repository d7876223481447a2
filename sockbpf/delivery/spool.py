"""The alerts that are owed, between the monitor that must not wait and the workers that must.

In memory: what is owed is lost with the process. Whoever keeps it elsewhere keeps these methods.
"""

from __future__ import annotations

import logging
import threading
import time
import zlib
from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.alert import Alert
    from sockbpf.counters import Counters

log = logging.getLogger(__name__)

DROPS_LOGGED_S = 10.0


def lane_of(episode: str, lanes: int) -> int:
    """Return the lane of an episode, the same in every run: `hash` of a str is not."""
    return zlib.crc32(episode.encode("utf-8", "surrogatepass")) % lanes


class Spool:
    """At most `capacity` alerts in `lanes` queues, oldest first.

    All alerts of an episode share a lane and each lane has one taker, so the receiver is told of an episode
    in order, whatever fails; episodes in other lanes go on meanwhile. `clock` is monotonic, in seconds.
    """

    def __init__(
        self, lanes: int, capacity: int, counters: Counters, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.lanes = lanes
        self.capacity = capacity
        self._counters = counters
        self._clock = clock
        self._lock = threading.Lock()
        self._queues: list[deque[Alert]] = [deque() for _ in range(lanes)]
        self._arrived = [threading.Condition(self._lock) for _ in range(lanes)]
        self._depth = 0
        self._closed = False
        self._drops_unsaid = 0
        self._drops_said_at = float("-inf")

    def offer(self, alert: Alert) -> bool:
        """Take the alert in; False when it was dropped (and counted) because the spool is full or closed.

        Never waits for a receiver.
        """
        lane = lane_of(alert.id, self.lanes)
        with self._lock:
            taken = self._depth < self.capacity and not self._closed
            if taken:
                self._queues[lane].append(alert)
                self._depth += 1
                self._arrived[lane].notify()
            else:
                self._counters.add("dropped")
                self._drops_unsaid += 1
            drops = self._drops_to_say()
        if drops:
            log.warning("alerts dropped: %d (no more than %d are kept)", drops, self.capacity)
        return taken

    def take(self, lane: int, timeout_s: float) -> Alert | None:
        """Return the oldest alert of the lane, which stays owed until `done`; None when none came in time.

        A closed spool still gives what it holds, and None at once when the lane is empty.
        """
        queue = self._queues[lane]
        with self._lock:
            self._arrived[lane].wait_for(lambda: queue or self._closed, timeout_s)
            return queue[0] if queue else None

    def done(self, lane: int) -> None:
        """Forget the oldest alert of the lane: it was delivered. Raise IndexError when the lane is empty."""
        with self._lock:
            self._queues[lane].popleft()
            self._depth -= 1

    def depth(self) -> int:
        """Return how many alerts are owed, those being sent included."""
        with self._lock:
            return self._depth

    def close(self) -> None:
        """Take nothing in any more and wake the takers."""
        with self._lock:
            self._closed = True
            for arrived in self._arrived:
                arrived.notify_all()
            drops, self._drops_unsaid = self._drops_unsaid, 0
        if drops:
            log.warning("alerts dropped since: %d", drops)

    def _drops_to_say(self) -> int:
        now = self._clock()
        if not self._drops_unsaid or now - self._drops_said_at < DROPS_LOGGED_S:
            return 0
        drops, self._drops_unsaid = self._drops_unsaid, 0
        self._drops_said_at = now
        return drops
