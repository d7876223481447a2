# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The threads that deliver to one destination: each takes alerts that are due, tries them, and reports the result."""

from __future__ import annotations

import logging
import math
import threading
import time
import traceback
from functools import partial
from pathlib import PurePath
from typing import TYPE_CHECKING

from sockbpf.delivery.owed import SenselessError
from sockbpf.delivery.transport import TransportError, batched
from sockbpf.process.life import ROUND_S, concerns_one_alert, set_aside, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from sockbpf.counters import Counters
    from sockbpf.delivery.owed import Owed
    from sockbpf.delivery.queue import Queue
    from sockbpf.delivery.transport import BatchDestination, Destination
    from sockbpf.process.life import Pulse

log = logging.getLogger(__name__)

FAILURES_LOGGED_S = 30.0

TRIES = 3
"""An alert over which a destination raises an unexpected exception is set aside after so many tries."""

DEFECTS = 1000
"""The tries with an unexpected exception are counted for at most so many alerts."""

NOT_CONFIGURED = "their destination is not configured any more"


class _Outage:
    """Logs that a destination begins to fail, still fails, or works again."""

    def __init__(self, name: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = name
        self._clock = clock
        self._lock = threading.Lock()
        self._failures = 0
        self._unlogged = 0
        self._logged = False
        self._logged_at = float("-inf")

    def failed(self, reason: str) -> None:
        with self._lock:
            self._failures += 1
            self._unlogged += 1
            now = self._clock()
            # Also from one outage to the next: one that comes and goes with every request must not fill the log.
            if now - self._logged_at < FAILURES_LOGGED_S:
                return
            unlogged, self._unlogged = self._unlogged, 0
            self._logged, self._logged_at = True, now
        if unlogged == 1:
            log.warning("delivery to %s failed: %s", self._name, reason)
        else:
            log.warning(
                "delivery to %s failed %d times since the last such line, last: %s",
                self._name,
                unlogged,
                reason,
            )

    def worked(self) -> None:
        with self._lock:
            if not self._failures:
                return
            failures, self._failures = self._failures, 0
            is_logged, self._logged = self._logged, False
        if is_logged:
            log.info("delivery to %s works again after %d failed tries", self._name, failures)


class Workers:
    """`number` daemon threads, each with an instance of the destination: they take from its queue and deliver.

    From these threads `delivered` is called with an alert that was delivered and its fields, `refused` with alerts
    that the destination will never take and the reason, `settled` with an alert that was set aside.
    """

    def __init__(
        self,
        name: str,
        queue: Queue,
        make_destination: Callable[[], Destination | BatchDestination],
        *,
        number: int,
        counters: Counters,
        delivered: Callable[[Owed, Mapping[str, str]], None],
        refused: Callable[[list[Owed], str], None],
        settled: Callable[[Owed], None],
        round_s: float = ROUND_S,
    ) -> None:
        self._name = name
        self._round_s = round_s
        self._queue = queue
        self._counters = counters
        self._delivered = delivered
        self._refused = refused
        self._settled = settled
        self._outage = _Outage(name)
        self._defects_lock = threading.Lock()
        self._defects_logged: set[str] = set()
        self._defects: dict[int, int] = {}
        """n of an alert -> how often the destination raised an unexpected exception over it."""
        self._begun = threading.Event()
        self._cancelled = False
        self._destinations: list[BatchDestination] = []
        try:
            for _ in range(number):
                self._destinations.append(batched(make_destination()))
        except BaseException:
            self._close_all(self._destinations)
            raise
        self._threads: list[threading.Thread] = []

    def start(self) -> None:
        """Start the threads, which wait for `begin`. Raise NoThreadError: then none of them is left."""
        try:
            for n, destination in enumerate(self._destinations):
                run = partial(self._run, destination)
                self._threads.append(
                    start_thread(
                        f"{self._name}-{n}",
                        run,
                        limit_s=self._round_s,
                        restart_helps=self._round_s < math.inf,
                    )
                )
        except BaseException:
            self.cancel()
            self._close_all(self._destinations[len(self._threads) :])
            raise

    def begin(self) -> None:
        """Let the threads take from the queue; these workers are its shift."""
        self._begun.set()

    def cancel(self) -> None:
        """Let the threads end without having begun."""
        self._cancelled = True
        self._begun.set()

    def alive(self) -> int:
        """Return how many threads have not ended."""
        return sum(thread.is_alive() for thread in self._threads)

    def join(self, deadline_s: float) -> None:
        """Wait until the threads have ended, as they do when the queue is closed, at most until the deadline.

        It is in monotonic seconds. A try under way then is not waited for: its alert stays owed, and may yet arrive.
        """
        for thread in filter(threading.Thread.is_alive, self._threads):
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def _run(self, destination: BatchDestination, pulse: Pulse) -> None:
        self._begun.wait()
        most, wait_s = destination.most, destination.wait_s
        while not self._cancelled and (alerts := self._queue.take_all(most, wait_s, self, pulse.beat)):
            self._deliver(destination, alerts, pulse.beat)
        self._close(destination)

    def _close_all(self, destinations: Iterable[BatchDestination]) -> None:
        for destination in destinations:
            self._close(destination)

    def _close(self, destination: BatchDestination) -> None:
        try:
            destination.close()
        except Exception as error:  # noqa: BLE001  a destination may be anyone's
            self._defect(error)

    def _deliver(self, destination: BatchDestination, alerts: list[Owed], beat: Callable[[], None]) -> None:
        """Deliver alerts in their order; where one of them may be at fault, each half of them by itself.

        When a try fails that may work later, what is left is not tried now: its episodes would be out of order.
        """
        parts = [alerts]
        while parts:
            beat()
            part = parts.pop()
            try:
                told = [owed.fields for owed in part]  # once for each try
                refused = destination.send_all(told)
            except Exception as error:
                if not concerns_one_alert(error):
                    raise
                passes = isinstance(error, TransportError) and not error.permanent
                if len(part) > 1 and not passes:
                    half = len(part) // 2
                    parts += [part[half:], part[:half]]
                elif passes or not self._is_given_up(part[0], error):
                    self._failed([owed for each in (part, *reversed(parts)) for owed in each], error)
                    return
            else:
                self._worked(part, told, refused)

    def _worked(
        self, alerts: list[Owed], told: Sequence[Mapping[str, str]], refused: Mapping[int, str]
    ) -> None:
        self._queue.worked(*alerts)
        self._outage.worked()
        by_reason: dict[str, list[Owed]] = {}
        for place, reason in refused.items():
            by_reason.setdefault(reason, []).append(alerts[place])
        for reason, some in by_reason.items():
            self._refused(some, reason)
        self._counters.add("delivered", len(alerts) - len(refused), self._name)
        for place, (owed, fields) in enumerate(zip(alerts, told, strict=True)):
            if place not in refused:
                self._delivered(owed, fields)

    def _failed(self, alerts: list[Owed], error: Exception) -> None:
        """Have alerts tried again after a failure that may pass."""
        unexpected = TransportError(f"unexpected {type(error).__name__}")
        failed = error if isinstance(error, TransportError) else unexpected
        self._counters.add("retried", len(alerts), self._name)
        self._outage.failed(str(failed))
        gone = self._queue.failed_all(alerts, failed.retry_after_s or 0.0, absent=failed.absent)
        if gone:
            self._refused(gone, f"{NOT_CONFIGURED}, last: {failed}")

    def _is_given_up(self, owed: Owed, error: Exception) -> bool:
        """Give up an alert that was refused for good; one over which the destination blundered, after some tries."""
        if isinstance(error, TransportError):
            self._queue.worked(owed)
            self._refused([owed], str(error))
            return True
        with self._defects_lock:
            tries = self._defects.pop(owed.n, 0) + 1
            may_pass = tries < TRIES and not isinstance(error, SenselessError)
            if may_pass:
                if len(self._defects) >= DEFECTS:
                    self._defects.clear()
                self._defects[owed.n] = tries
        if may_pass:
            self._defect(error)
            return False
        set_aside(self._counters, f"{self._name} {owed}", error)
        self._queue.worked(owed)
        self._settled(owed)
        return True

    def _defect(self, error: Exception) -> None:
        """Log an unexpected exception of the destination, once per class; its text may hold secrets."""
        name = type(error).__name__
        with self._defects_lock:
            if name in self._defects_logged:
                return
            self._defects_logged.add(name)
        at = traceback.extract_tb(error.__traceback__)[-1]
        log.error(
            "%s raised %s at %s:%s, which no destination should: please report it",
            self._name, name, PurePath(at.filename).name, at.lineno,
        )  # fmt: skip
