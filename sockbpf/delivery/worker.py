"""The threads that deliver: one per lane of the spool, each trying its oldest alert until it is through."""

from __future__ import annotations

import logging
import random
import threading
import time
import traceback
from pathlib import PurePath
from typing import TYPE_CHECKING

from sockbpf.delivery.transport import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.alert import Alert
    from sockbpf.counters import Counters
    from sockbpf.delivery.spool import Spool
    from sockbpf.delivery.transport import Destination

log = logging.getLogger(__name__)

IDLE_S = 3600.0
"""An idle worker waits for the spool to wake it; the bound is only a bound."""

FAILURES_LOGGED_S = 30.0


def backoff_s(
    failures: int, first_s: float, max_s: float, uniform: Callable[[float, float], float] = random.uniform
) -> float:
    """Return the seconds to wait after that many failures in a row (from 1), from `first_s` to `max_s`.

    The ceiling doubles with each failure and the wait is anywhere under it, so that monitors that lost the
    same receiver together do not come back together (AWS blog, "Exponential Backoff and Jitter").
    """
    # 2.0**1024 is an OverflowError; 2**64 seconds are past any maximum.
    return min(max_s, uniform(first_s, min(max_s, first_s * 2.0 ** min(failures, 64))))


class _Outage:
    """What the log is told of a destination: when it begins to fail, that it still does, when it works again.

    A destination that fails for one lane and works for another is failing.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failing: set[int] = set()
        self._failures = 0
        self._unsaid = 0
        self._said = False
        self._said_at = float("-inf")

    def failed(self, lane: int, reason: str) -> None:
        with self._lock:
            self._failing.add(lane)
            self._failures += 1
            self._unsaid += 1
            now = self._clock()
            # Between outages too: one that comes and goes with every request shall not fill the log.
            if now - self._said_at < FAILURES_LOGGED_S:
                return
            unsaid, self._unsaid = self._unsaid, 0
            self._said, self._said_at = True, now
        if unsaid == 1:
            log.warning("delivery failed: %s", reason)
        else:
            log.warning("delivery failed %d times since the last such line, last: %s", unsaid, reason)

    def worked(self, lane: int) -> None:
        with self._lock:
            self._failing.discard(lane)
            if self._failing or not self._failures:
                return
            failures, self._failures = self._failures, 0
            said, self._said = self._said, False
        if said:
            log.info("delivery works again after %d failed tries", failures)


class Workers:
    """One daemon thread per lane of the spool, each with a destination of its own.

    `retry_first_s` and `retry_max_s` bound the wait before another try, in seconds; a receiver's Retry-After
    can lengthen it up to `retry_max_s`. What fails is tried again until it is delivered or the workers stop.
    """

    def __init__(
        self,
        spool: Spool,
        make_destination: Callable[[], Destination],
        counters: Counters,
        *,
        retry_first_s: float,
        retry_max_s: float,
    ) -> None:
        self._spool = spool
        self._counters = counters
        self._retry_first_s = retry_first_s
        self._retry_max_s = retry_max_s
        self._outage = _Outage()
        self._defects_lock = threading.Lock()
        self._defects_said: set[str] = set()
        self._stopping = threading.Event()
        self._deadline = float("inf")
        self._threads = [
            threading.Thread(
                target=self._run, args=(lane, make_destination()), name=f"deliver-{lane}", daemon=True
            )
            for lane in range(spool.lanes)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self, deadline_s: float) -> int:
        """Close the spool, deliver what can be in `deadline_s` seconds, return how many alerts stay owed.

        Returns as soon as nothing is owed or no try is due before the deadline. A try under way at the
        deadline is not waited for: its alert counts as owed and may yet arrive.
        """
        self._deadline = time.monotonic() + deadline_s
        self._stopping.set()
        self._spool.close()
        for thread in filter(threading.Thread.is_alive, self._threads):
            thread.join(max(0.0, self._deadline - time.monotonic()))
        return self._spool.depth()

    def _run(self, lane: int, destination: Destination) -> None:
        try:
            while time.monotonic() < self._deadline:
                # Asked before the take: what was offered between the two is still delivered.
                stopping = self._stopping.is_set()
                alert = self._spool.take(lane, IDLE_S)
                if alert is not None and self._deliver(lane, destination, alert):
                    self._spool.done(lane)
                elif alert is not None or stopping:
                    return
        finally:
            try:
                destination.close()
            except Exception as error:  # noqa: BLE001  a destination may be anyone's
                self._defect(error)

    def _deliver(self, lane: int, destination: Destination, alert: Alert) -> bool:
        """Try until the alert is through; False when the workers stop first."""
        failures = 0
        while time.monotonic() < self._deadline:
            stopping = self._stopping.is_set()
            failed = self._try(destination, alert)
            if failed is None:
                self._counters.add("delivered")
                self._outage.worked(lane)
                return True
            failures += 1
            self._counters.add("retried")
            self._outage.failed(lane, str(failed))
            wait_s = backoff_s(failures, self._retry_first_s, self._retry_max_s)
            asked_s = min(failed.retry_after_s or 0.0, self._retry_max_s)
            if not self._pause(max(wait_s, asked_s), stopping):
                return False
        return False

    def _try(self, destination: Destination, alert: Alert) -> TransportError | None:
        try:
            destination.send(alert)
        except TransportError as error:
            return error
        except Exception as error:  # noqa: BLE001  a defect in a destination must not end the deliveries
            self._defect(error)
            return TransportError(f"unexpected {type(error).__name__}")
        return None

    def _pause(self, wait_s: float, stopping: bool) -> bool:
        """Wait before another try; False when there will be none before the deadline.

        A stop ends the wait, so that what is owed is tried at least once more: `stopping` says that the try
        before began after the stop.
        """
        if not stopping:
            self._stopping.wait(wait_s)
            return True
        if wait_s >= self._deadline - time.monotonic():
            return False
        time.sleep(wait_s)
        return True

    def _defect(self, error: Exception) -> None:
        """Log an error that no destination should raise, once per class; its text may hold secrets."""
        name = type(error).__name__
        with self._defects_lock:
            if name in self._defects_said:
                return
            self._defects_said.add(name)
        at = traceback.extract_tb(error.__traceback__)[-1]
        log.error("a destination raised %s at %s:%s, a defect", name, PurePath(at.filename).name, at.lineno)
