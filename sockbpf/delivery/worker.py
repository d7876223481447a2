# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The threads that deliver to one destination: each takes what is due, tries it, says what came of it."""

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
from sockbpf.delivery.transport import TransportError
from sockbpf.process.life import ROUND_S, concerns_one_alert, set_aside, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sockbpf.counters import Counters
    from sockbpf.delivery.owed import Owed
    from sockbpf.delivery.queue import Queue
    from sockbpf.delivery.transport import Destination
    from sockbpf.process.life import Pulse

log = logging.getLogger(__name__)

FAILURES_LOGGED_S = 30.0

TRIES = 3
"""An alert over which a destination fails in a way that no destination should is set aside after so many tries."""


DEFECTS = 1000
"""Of as many alerts it is remembered."""

NOT_CONFIGURED = "their destination is not configured any more"


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

    `delivered` and `refused` are called, from these threads, with what is not owed any more; `delivered` also with
    its parameters, `refused` with the reason, for what the destination will never take.
    """

    def __init__(
        self,
        name: str,
        queue: Queue,
        make_destination: Callable[[], Destination],
        *,
        number: int,
        counters: Counters,
        delivered: Callable[[Owed, Mapping[str, str]], None],
        refused: Callable[[Owed, str], None],
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
        self._defects_said: set[str] = set()
        self._defects: dict[int, int] = {}
        """n of an alert -> how often a destination failed over it in a way that none should."""
        self._begun = threading.Event()
        self._cancelled = False
        self._destinations: list[Destination] = []
        try:
            for _ in range(number):
                self._destinations.append(make_destination())
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
        """Let them take from the queue, whose shift this is."""
        self._begun.set()

    def cancel(self) -> None:
        """Let them end without having begun."""
        self._cancelled = True
        self._begun.set()

    def alive(self) -> int:
        """Return how many threads have not ended."""
        return sum(thread.is_alive() for thread in self._threads)

    def join(self, deadline_s: float) -> None:
        """Wait for their end, which a closed queue brings; at most until the deadline, monotonic seconds.

        A try under way then is not waited for: its alert stays owed, and may yet arrive.
        """
        for thread in filter(threading.Thread.is_alive, self._threads):
            thread.join(max(0.0, deadline_s - time.monotonic()))

    def _run(self, destination: Destination, pulse: Pulse) -> None:
        self._begun.wait()
        while not self._cancelled and (owed := self._queue.take(self, pulse.beat)) is not None:
            self._deliver(destination, owed)
        self._close(destination)

    def _close_all(self, destinations: Iterable[Destination]) -> None:
        for destination in destinations:
            self._close(destination)

    def _close(self, destination: Destination) -> None:
        try:
            destination.close()
        except Exception as error:  # noqa: BLE001  a destination may be anyone's
            self._defect(error)

    def _deliver(self, destination: Destination, owed: Owed) -> None:
        try:
            fields = owed.fields  # once for each try
            destination.send(fields)
        except TransportError as failed:
            self._failed(owed, failed)
        except Exception as error:
            if not concerns_one_alert(error):
                raise
            self._failed_oddly(owed, error)
        else:
            self._queue.worked(owed)
            self._outage.worked()
            self._counters.add("delivered")
            self._delivered(owed, fields)

    def _failed(self, owed: Owed, failed: TransportError) -> None:
        if failed.permanent:
            self._queue.worked(owed)
            self._refused(owed, str(failed))
        else:
            self._counters.add("retried")
            self._outage.failed(str(failed))
            if not self._queue.failed(owed, failed.retry_after_s or 0.0, absent=failed.absent):
                self._refused(owed, f"{NOT_CONFIGURED}, last: {failed}")

    def _failed_oddly(self, owed: Owed, error: Exception) -> None:
        """Try again what a destination failed over as none should; not for ever, others wait behind it."""
        with self._defects_lock:
            tries = self._defects.pop(owed.n, 0) + 1
        if tries < TRIES and not isinstance(error, SenselessError):
            with self._defects_lock:
                if len(self._defects) >= DEFECTS:
                    self._defects.clear()
                self._defects[owed.n] = tries
            self._defect(error)
            self._failed(owed, TransportError(f"unexpected {type(error).__name__}"))
        else:
            set_aside(self._counters, f"{self._name} {owed}", error)
            self._queue.worked(owed)
            self._settled(owed)

    def _defect(self, error: Exception) -> None:
        """Log an error that no destination should raise, once per class; its text may hold secrets."""
        name = type(error).__name__
        with self._defects_lock:
            if name in self._defects_said:
                return
            self._defects_said.add(name)
        at = traceback.extract_tb(error.__traceback__)[-1]
        log.error("a destination raised %s at %s:%s, a defect", name, PurePath(at.filename).name, at.lineno)
