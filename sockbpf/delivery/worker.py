"""The threads that deliver to one destination: each takes what is due, tries it, says what came of it."""

from __future__ import annotations

import logging
import threading
import time
import traceback
from pathlib import PurePath
from typing import TYPE_CHECKING

from sockbpf.delivery.transport import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.counters import Counters
    from sockbpf.delivery.owed import Owed
    from sockbpf.delivery.queue import Queue
    from sockbpf.delivery.transport import Destination

log = logging.getLogger(__name__)

FAILURES_LOGGED_S = 30.0


class _Outage:
    """What the log is told of a destination: when it begins to fail, that it still does, when it works again."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._unsaid = 0
        self._said = False
        self._said_at = float("-inf")

    def failed(self, reason: str) -> None:
        with self._lock:
            self._failures += 1
            self._unsaid += 1
            now = self._clock()
            # Between outages too: one that comes and goes with every request shall not fill the log.
            if now - self._said_at < FAILURES_LOGGED_S:
                return
            unsaid, self._unsaid = self._unsaid, 0
            self._said, self._said_at = True, now
        if unsaid == 1:
            log.warning("delivery to %s failed: %s", self._name, reason)
        else:
            log.warning(
                "delivery to %s failed %d times since the last such line, last: %s",
                self._name,
                unsaid,
                reason,
            )

    def worked(self) -> None:
        with self._lock:
            if not self._failures:
                return
            failures, self._failures = self._failures, 0
            said, self._said = self._said, False
        if said:
            log.info("delivery to %s works again after %d failed tries", self._name, failures)


class Workers:
    """`number` daemon threads with a destination each, between its queue and who is told what came of it.

    `delivered` and `refused` are called, from these threads, with what is not owed any more; `refused` also with
    the reason, for what the destination will never take.
    """

    def __init__(
        self,
        name: str,
        queue: Queue,
        make_destination: Callable[[], Destination],
        *,
        number: int,
        counters: Counters,
        delivered: Callable[[Owed], None],
        refused: Callable[[Owed, str], None],
    ) -> None:
        self._queue = queue
        self._counters = counters
        self._delivered = delivered
        self._refused = refused
        self._outage = _Outage(name)
        self._defects_lock = threading.Lock()
        self._defects_said: set[str] = set()
        self._threads = [
            threading.Thread(target=self._run, args=(make_destination(),), name=f"{name}-{n}", daemon=True)
            for n in range(number)
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def join(self, deadline_s: float) -> None:
        """Wait for their end, which a closed queue brings; at most until the deadline, monotonic seconds.

        A try under way then is not waited for: its alert stays owed, and may yet arrive.
        """
        for thread in filter(threading.Thread.is_alive, self._threads):
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def _run(self, destination: Destination) -> None:
        try:
            while (owed := self._queue.take()) is not None:
                self._deliver(destination, owed)
        finally:
            try:
                destination.close()
            except Exception as error:  # noqa: BLE001  a destination may be anyone's
                self._defect(error)

    def _deliver(self, destination: Destination, owed: Owed) -> None:
        failed = self._try(destination, owed)
        if failed is None:
            self._queue.worked(owed)
            self._outage.worked()
            self._counters.add("delivered")
            self._delivered(owed)
        elif failed.permanent:
            self._queue.worked(owed)
            self._refused(owed, str(failed))
        else:
            self._counters.add("retried")
            self._outage.failed(str(failed))
            self._queue.failed(owed, failed.retry_after_s or 0.0)

    def _try(self, destination: Destination, owed: Owed) -> TransportError | None:
        try:
            destination.send(owed.told)
        except TransportError as error:
            return error
        except Exception as error:  # noqa: BLE001  a defect in a destination must not end the deliveries
            self._defect(error)
            return TransportError(f"unexpected {type(error).__name__}")
        return None

    def _defect(self, error: Exception) -> None:
        """Log an error that no destination should raise, once per class; its text may hold secrets."""
        name = type(error).__name__
        with self._defects_lock:
            if name in self._defects_said:
                return
            self._defects_said.add(name)
        at = traceback.extract_tb(error.__traceback__)[-1]
        log.error("a destination raised %s at %s:%s, a defect", name, PurePath(at.filename).name, at.lineno)
