"""From alerts made to alerts owed: written into the journal, then logged, then given to each destination's queue.

A thread of its own writes, so that a slow disk keeps nobody from reading the kernel. It writes what has come while
it wrote the last time, up to `BATCH` alerts, in one commit: a storm costs few commits, not one for each alert.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from sockbpf.alert import HEARTBEAT
from sockbpf.delivery.journal import Journal, JournalError, JournalHeldError
from sockbpf.delivery.owed import MAX_BODY, Owed, body_of, named, told_of
from sockbpf.errors import UnsupportedError
from sockbpf.life import REST_S, setting_aside, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from sockbpf.counters import Counters
    from sockbpf.delivery.queue import Queue
    from sockbpf.delivery.worker import Workers
from sockbpf.life import Pulse

log = logging.getLogger(__name__)

IDLE_S = 1.0
"""While something is owed: from one look at what is too old, or was settled, to the next."""

REOPEN_S = 30.0
"""From one try to open a journal that failed to the next."""

BATCH = 1000
"""As many alerts are written in one commit: few enough that the first of them need not wait for long."""

IDS_LOGGED = 20
"""Of what is given up at once, as many are named in one line of the log."""


class Line(Protocol):
    """Writes an alert into the log."""

    def __call__(self, told: Mapping[str, str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Route:
    """A destination as the outbox sees it."""

    name: str
    wants: Callable[[Mapping[str, str]], bool]
    queue: Queue
    workers: Workers


class Outbox:
    """Everything between the monitor, which must not wait, and the workers, which must."""

    def __init__(
        self, *, path: Path | None, capacity: int, max_age_s: float, counters: Counters, line: Line
    ) -> None:
        """Open the journal, none without a path; `capacity` is how many alerts may wait to be written.

        Raise UnsupportedError when another monitor has the journal.
        """
        self._path = path
        self._capacity = capacity
        self._max_age_s = max_age_s
        self._counters = counters
        self._line = line
        self._routes: tuple[Route, ...] = ()
        self._new_routes: tuple[Route, ...] | None = None
        self._changed = threading.Condition()
        self._made: list[str] = []
        """As `Owed` keeps them: a storm's alerts as dictionaries would take six times the memory."""
        self._put = self._handled = 0
        self._settled: list[int] = []
        self._drops_unsaid = 0
        self._closing = False
        self._journal: Journal | None = None
        self._reopen_s = 0.0
        self._was_read = path is None
        """Whether what an earlier monitor owed is known."""
        self._n = 0
        self.last_seq = 0
        """The `seq` of the last alert that was written, by this monitor or an earlier one."""
        self._found: list[Owed] = []
        self._open()
        self._thread: threading.Thread | None = None

    def start(self, routes: Iterable[Route]) -> None:
        """Begin to write and deliver; what an earlier monitor owed comes first. Raise NoThreadError."""
        self._routes = tuple(routes)
        self._take_over(self._found)
        self._found = []
        for route in self._routes:
            route.workers.start()
        self._thread = start_thread("outbox", self._run)

    def _take_over(self, found: list[Owed]) -> None:
        """Owe what an earlier monitor owed."""
        if not found:
            return
        log.info("found %d alerts owed in %s", len(found), self._path)
        self._counters.add("recovered_owed", len(found))
        self._deliver_elsewhere(found)

    def _deliver_elsewhere(self, alerts: list[Owed]) -> None:
        """Offer what another route owed to the one of its name now."""
        known = {route.name for route in self._routes}
        self._give_up(
            [owed for owed in alerts if owed.destination not in known],
            "their destination is not configured any more",
        )
        self._offer(sorted(alerts, key=lambda owed: owed.n))

    def _offer(self, alerts: list[Owed]) -> None:
        for route in self._routes:
            mine = [owed for owed in alerts if owed.destination == route.name]
            if mine:
                self._give_up(route.queue.offer(mine), f"more than {route.queue.capacity} are owed")

    def put(self, alerts: Iterable[Mapping[str, str]]) -> None:
        """Take alerts in, in the order of their `seq`; never waits."""
        with self._changed:
            for told in alerts:
                self._put += 1
                body = body_of(told)
                if len(self._made) < self._capacity and len(body) <= MAX_BODY:
                    self._made.append(body)
                else:
                    self._handled += 1
                    self._counters.add("dropped")
                    self._drops_unsaid += 1
            self._changed.notify()

    def flush(self, seconds: float) -> bool:
        """Wait until what was put in is written and logged; False if that took longer."""
        with self._changed:
            put = self._put
            return self._changed.wait_for(lambda: self._handled >= put, seconds)

    def reroute(self, routes: Iterable[Route]) -> None:
        """Deliver by these from now on; what a route that is not among them owes goes to its successor by name.

        Raise NoThreadError: then all stays as it is.
        """
        routes = tuple(routes)
        known = {id(route) for route in self._routes}
        for route in routes:
            if id(route) not in known:
                route.workers.start()
        with self._changed:
            self._new_routes = routes
            self._changed.notify()

    def settled(self, owed: Owed) -> None:
        """Take note that this is not owed any more; from any thread."""
        with self._changed:
            self._settled.append(owed.n)  # there is no haste: twice is better than never

    def refused(self, owed: Owed, reason: str) -> None:
        """Take note that the destination will never take this; from any thread."""
        self._give_up([owed], reason)

    def depth(self) -> int:
        """Return how many alerts are owed, over all destinations."""
        return sum(route.queue.depth() for route in self._routes)

    def oldest_s(self) -> float | None:
        """Return when the oldest that is owed was made, Unix time."""
        return min((at for route in self._routes if (at := route.queue.oldest_s()) is not None), default=None)

    def close(self, deadline_s: float) -> int:
        """Write what has come, deliver what can be before the deadline, monotonic seconds; return what stays owed."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread:
            self._thread.join()
        for route in self._routes:
            route.queue.close(deadline_s)
        for route in self._routes:
            route.workers.join(deadline_s)
        self._write([])
        if self._journal:
            self._journal.close()
        return self.depth()

    # the thread

    def _run(self, pulse: Pulse) -> None:
        while True:
            pulse.beat()
            with self._changed:
                idle = not self._settled and self._journal is not None and not self.depth()
                self._changed.wait_for(self._is_wanted, REST_S if idle else IDLE_S)
                made, self._made = self._made[:BATCH], self._made[BATCH:]
                routes, self._new_routes = self._new_routes, None
                drops, self._drops_unsaid = self._drops_unsaid, 0
                closing = self._closing
            if drops:
                log.warning(
                    "alerts dropped: %d (no more than %d can wait to be written)", drops, self._capacity
                )
            if routes is not None:
                self._exchange(routes)
            self._expire()
            self._reopen()
            self._handle(made)
            if closing and len(made) < BATCH:
                return

    def _handle(self, made: list[str]) -> None:
        owed: list[Owed] = []
        for body in made:
            with setting_aside(self._counters, named(body)):
                told = told_of(body)
                seq = int(told["seq"])
                owed += self._owed(told, body)
                self.last_seq = seq
        self._write([one for one in owed if one.episode != HEARTBEAT])
        for body in made:
            with setting_aside(self._counters, named(body)):
                if (told := told_of(body))["event"] != HEARTBEAT:
                    self._line(told)
        self._offer(owed)
        with self._changed:
            self._handled += len(made)
            self._changed.notify_all()

    def _is_wanted(self) -> bool:
        return bool(self._made) or self._closing or self._new_routes is not None

    def _exchange(self, routes: tuple[Route, ...]) -> None:
        kept = {id(route) for route in routes}
        left: list[Owed] = []
        for route in self._routes:
            if id(route) not in kept:
                route.queue.close(time.monotonic())  # what is being tried may arrive twice
                left += route.queue.owed()
        self._routes = routes
        self._deliver_elsewhere(left)

    def _owed(self, told: Mapping[str, str], body: str) -> list[Owed]:
        wanted = [route.name for route in self._routes if route.wants(told)]
        if told["event"] == HEARTBEAT:  # one that is late is of no use, a second one neither
            wanted = [
                route.name for route in self._routes if route.name in wanted and not route.queue.depth()
            ]
        now_s = time.time()
        self._n += len(wanted)
        first = self._n - len(wanted) + 1
        return [Owed(n, name, told.get("id", HEARTBEAT), now_s, body) for n, name in enumerate(wanted, first)]

    def _write(self, owed: list[Owed]) -> None:
        with self._changed:
            settled, self._settled = self._settled, []
        if self._journal is None or not (owed or settled):
            return
        try:
            self._journal.write(owed, settled, self.last_seq, self._n)
        except JournalError as error:
            self._degrade(error)

    def _expire(self) -> None:
        before_s = time.time() - self._max_age_s
        for route in self._routes:
            self._give_up(route.queue.expire(before_s), f"older than {self._max_age_s:g} s")

    def _give_up(self, alerts: list[Owed], reason: str) -> None:
        if not alerts:
            return
        self._counters.add("given_up", len(alerts))
        for at in range(0, len(alerts), IDS_LOGGED):
            some = alerts[at : at + IDS_LOGGED]
            log.warning("given up, %s: %s", reason, ", ".join(f"{owed.destination} {owed}" for owed in some))
        with self._changed:
            self._settled += [owed.n for owed in alerts]

    # the journal's troubles

    def _open(self) -> None:
        if self._path is None:
            return
        try:
            self._journal = self._opened(self._path)
            self._found = self._journal.owed()
            self.last_seq, self._n = self._journal.last_seq, self._journal.last_n
        except JournalHeldError as error:
            raise UnsupportedError(f"{error}. Remedy: stop it, or name another journal > path here") from None
        except JournalError as error:
            # What was told before is not known: by the milliseconds no number comes twice, and a gap shows.
            self.last_seq = time.time_ns() // 10**6
            self._degrade(error)
        else:
            self._was_read = True

    def _opened(self, path: Path) -> Journal:
        journal = Journal(path)
        if journal.set_aside:
            self._counters.add("set_aside", journal.set_aside)
        return journal

    def _degrade(self, error: JournalError) -> None:
        """Go on in memory: the next start will not know what is owed now."""
        log.error("the journal cannot be used, alerts are kept in memory alone: %s", error)
        self._counters.add("journal_failed")
        if self._journal:
            self._journal.close()
            self._journal = None
        self._reopen_s = time.monotonic() + REOPEN_S

    def _reopen(self) -> None:
        if self._path is None or self._journal or time.monotonic() < self._reopen_s:
            return
        try:
            self._journal = self._opened(self._path)
            if not self._was_read:
                found = [replace(owed, n=self._n + i) for i, owed in enumerate(self._journal.owed(), 1)]
                self._n += len(found)
                self._was_read = True
                self._take_over(found)
            owed = sorted(
                (one for route in self._routes for one in route.queue.owed()), key=lambda one: one.n
            )
            self._journal.replace(owed, self.last_seq, self._n)
        except JournalError as error:
            self._degrade(error)
        else:
            log.warning("the journal is used again: %s", self._path)
