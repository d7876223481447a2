# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""From new alerts to owed alerts: written to the journal, then given to each destination's queue, then logged.

A thread of its own does this, so that a slow disk does not delay the reading of kernel events. Each commit takes all
alerts that arrived during the last one, up to `BATCH`: a storm costs few commits, not one for each alert.
"""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, replace
from sys import intern
from typing import TYPE_CHECKING, Protocol

from sockbpf.delivery.keeping import Keeper
from sockbpf.delivery.meanwhile import summary_of
from sockbpf.delivery.open_book import NOBODY, OpenBook, open_of
from sockbpf.delivery.owed import MAX_BODY, Owed, body_of, name_of, of_this_boot, service_of
from sockbpf.delivery.routes import Route, Routes
from sockbpf.process.clock import boot_id, boottime_s
from sockbpf.process.life import REST_S, setting_aside, start_thread
from sockbpf.record.alert import HEARTBEAT
from sockbpf.record.left import first_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

    from sockbpf.counters import Counters
    from sockbpf.delivery.change import LeftOwed
    from sockbpf.process.life import Pulse
    from sockbpf.record.left import Left

log = logging.getLogger(__name__)

IDLE_S = 1.0
"""While an alert is owed or written: the interval between two looks for alerts that are too old and a slow disk."""

BATCH = 1000
"""At most so many alerts are written in one commit: few enough that the first of them need not wait for long."""

CLOSE_S = 1.0
"""How much longer than its deadline the end may take, for the last write to the disk."""


class Line(Protocol):
    """Writes an alert into the log."""

    def __call__(self, fields: Mapping[str, str]) -> None: ...


@dataclass(frozen=True, slots=True)
class NewAlert:
    """An alert, or a heartbeat, that has no `seq` yet."""

    name: str
    """Its name in the log."""

    account: int
    """Whose sockets it is about, see `account_of`."""

    fields_with: Callable[[int], Mapping[str, str]]
    """Returns its fields with this `seq`."""

    numbered: bool = True
    """Whether it takes the next `seq`; a heartbeat repeats the last one."""

    left: Callable[[], Sequence[Left]] | None = None
    """Of an alert of an episode, or of several: what a later run needs to go on with what has not ended."""


class Outbox:
    """Stands between the monitor, which must never wait, and the workers, which wait for receivers."""

    def __init__(
        self, *, path: Path | None, capacity: int, max_age_s: float, counters: Counters, line: Line
    ) -> None:
        """Open the journal, if there is a path; `capacity` is how many alerts may wait to be written.

        Raise UnsupportedError when another monitor has the journal.
        """
        self._path = path
        self._capacity = capacity
        self._max_age_s = max_age_s
        self._counters = counters
        self._line = line
        self.routes = Routes(counters, self.settled)
        self._changed = threading.Condition()
        self._made: list[tuple[NewAlert, int]] = []
        """New alerts that are not written yet, each with its `seq`."""
        self._put = self._handled = 0
        self._drops_unlogged = 0
        self._closing = False
        self._boot = boot_id()
        self._n = 0
        self.last_seq = 0
        """The `seq` of the last alert that was written, by this monitor or an earlier one."""
        self._keeper = Keeper(path, counters) if path else None
        self._open = OpenBook()
        self.left_open: list[Left] = []
        """The episodes that an earlier monitor told and did not end."""
        self._found: LeftOwed | None = None
        if self._keeper:
            if self._keeper.wait_open() and (found := self._keeper.found()):
                self._found, self.last_seq, self._n = found, found.last_seq, found.last_n
            else:  # higher than any earlier monitor's: a receiver would drop a known `seq` as a duplicate
                self.last_seq = time.time_ns() // 10**6
        self._seq = self.last_seq
        self._summarised_s = 0.0
        self._thread: threading.Thread | None = None

    def start(self, routes: Iterable[Route]) -> None:
        """Begin to write and deliver, by routes whose workers were started; alerts of an earlier monitor come first.

        Raise NoThreadError.
        """
        self.routes.exchange(routes)
        if self._keeper and self._found:
            owed = of_this_boot(self._found.owed, self._boot, boottime_s())
            self._keeper.begin(None if owed == self._found.owed else owed, self.last_seq, self._n)
            self._take_over(owed)
            self._found = None
        self._thread = start_thread("outbox", self._run)

    def _take_over(self, found: list[Owed]) -> None:
        """Queue the alerts that an earlier monitor owed, and find the episodes that it left open."""
        lefts, senseless = self._open.find(found)
        self.left_open += lefts
        for owed in senseless:
            self.settled(owed)
        found = [owed for owed in found if owed.destination != NOBODY]
        if not found:
            return
        log.info("found %d alerts owed in %s", len(found), self._path)
        self._counters.add("recovered_owed", len(found))
        self.routes.offer(found, earlier=True)

    def found_open(self) -> list[Left]:
        """Return, before `start`, the episodes that an earlier monitor told and did not end."""
        return OpenBook().find(self._found.owed)[0] if self._found else []

    def put(self, alerts: Iterable[NewAlert]) -> None:
        """Give alerts their `seq`, also those that are dropped, and queue them for the journal; never wait."""
        with self._changed:
            for made in alerts:
                self._put += 1
                self._seq += made.numbered
                if len(self._made) < self._capacity:
                    self._made.append((made, self._seq))
                else:
                    self._handled += 1
                    self._count_drop()
            self._changed.notify()

    def _count_drop(self) -> None:
        self._counters.add("dropped")
        self._drops_unlogged += 1

    def flush(self, seconds: float) -> bool:
        """Wait until all alerts that were put are written and logged; False if that took longer."""
        with self._changed:
            put = self._put
            return self._changed.wait_for(lambda: self._handled >= put, seconds)

    def settled(self, owed: Owed) -> None:
        """Take note that an alert is not owed any more, delivered or given up; from any thread."""
        if self._keeper:
            self._keeper.settled(owed)

    def refused(self, alerts: list[Owed], reason: str) -> None:
        """Take note that the destination will never take these alerts; from any thread."""
        self.routes.give_up(alerts, reason)

    def close(self, deadline_s: float) -> int:
        """Write all new alerts and deliver until the deadline, monotonic seconds; return how many stay owed."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        if self._thread:
            self._thread.join(max(deadline_s - time.monotonic(), CLOSE_S))
        self.routes.close(deadline_s)
        if self._keeper:
            self._keeper.close(max(deadline_s, time.monotonic() + CLOSE_S))
        return self.routes.depth()

    # the thread

    def _run(self, pulse: Pulse) -> None:
        while True:
            pulse.beat()
            with self._changed:
                quiet = not self.routes.depth() and (self._keeper is None or self._keeper.is_quiet())
                self._changed.wait_for(self._is_wanted, REST_S if quiet else IDLE_S)
                made, self._made = self._made[:BATCH], self._made[BATCH:]
                drops, self._drops_unlogged = self._drops_unlogged, 0
                closing = self._closing
            if drops:
                log.warning(
                    "alerts dropped: %d, they are lost (at most %d can wait for the disk, each of at most %d bytes)",
                    drops,
                    self._capacity,
                    MAX_BODY,
                )
            self.routes.expire(boottime_s() - self._max_age_s, f"older than {self._max_age_s:g} s")
            self._look_at_journal()
            self._handle(made)
            self._summarise()
            if closing and len(made) < BATCH:
                return

    def _is_wanted(self) -> bool:
        return bool(self._made) or self._closing

    def _handle(self, made: list[tuple[NewAlert, int]]) -> None:
        owed: list[Owed] = []
        opened: list[Owed] = []
        shut: list[Owed] = []
        lines: list[Mapping[str, str]] = []
        for one, seq in made:
            with setting_aside(self._counters, f"{one.name}/{seq}"):
                fields = one.fields_with(seq)
                body = body_of(fields)
                if len(body) > MAX_BODY:
                    with self._changed:
                        self._count_drop()
                    continue
                owed += self._owed(fields, body, one.account)
                self.last_seq = seq
                if fields["event"] != HEARTBEAT:
                    lines.append(fields)
                if one.left and self._keeper:
                    now, gone = self._opened(fields, one.left())
                    opened += now
                    shut += gone
        kept = [one for one in owed if one.episode != HEARTBEAT] + opened
        if self._keeper and kept:
            self._keeper.made(kept, self.last_seq, self._n)
        for old in shut:
            self.settled(old)
        self.routes.offer(owed)
        for fields in lines:
            with setting_aside(self._counters, name_of(fields)):
                self._line(fields)
        with self._changed:
            self._handled += len(made)
            self._changed.notify_all()

    def _summarise(self) -> None:
        """Have one alert stand for what began and ended while a destination was behind.

        The summary is on the disk before any of the alerts that it stands for is forgotten there.
        """
        if time.monotonic() - self._summarised_s < IDLE_S:
            return
        self._summarised_s = time.monotonic()
        for alerts in self.routes.take_ended():
            self._n += 1
            summary = summary_of(alerts, self._n)
            if self._keeper:
                self._keeper.made([summary], self.last_seq, self._n)
            self.routes.offer([summary])
            for owed in alerts:
                self.settled(owed)
            self._counters.add("summarised", len(alerts) - 1)

    def _owed(self, fields: Mapping[str, str], body: str, account: int) -> list[Owed]:
        wanted = self.routes.wanted(fields)
        made_s, boot_s = time.time(), boottime_s()
        self._n += len(wanted)
        first = self._n - len(wanted) + 1
        episode, service = fields.get("id", HEARTBEAT), intern(service_of(fields))
        return [
            Owed(n, name, episode, made_s, body, account, service, self._boot, boot_s)
            for n, name in enumerate(wanted, first)
        ]

    def _opened(self, fields: Mapping[str, str], lefts: Sequence[Left]) -> tuple[list[Owed], list[Owed]]:
        """Return what the journal is to hold of what an alert told of, and what it need not hold any more."""
        if not lefts:
            return [], self._open.end(fields["id"])
        first = self._open.first(fields["id"]) or first_of(fields)
        lefts = [left if left.fold else replace(left, first=first) for left in lefts]
        at = time.time(), self._boot, boottime_s()
        opened = [open_of(fields, left, n, at) for n, left in enumerate(lefts, self._n + 1)]
        self._n += len(opened)
        gone = [old for left, owed in zip(lefts, opened, strict=True) for old in self._open.keep(left, owed)]
        return opened, gone

    def _look_at_journal(self) -> None:
        """Write all owed alerts to a journal that could not be used until now."""
        if self._keeper is None:
            return
        self._keeper.look()
        if (found := self._keeper.found()) is None:
            return
        aged = of_this_boot(found.owed, self._boot, boottime_s())
        earlier = [replace(owed, n=self._n + i) for i, owed in enumerate(aged, 1)]
        self._n += len(earlier)
        self._take_over(earlier)
        self._keeper.begin([*self.routes.owed(), *self._open.kept()], self.last_seq, self._n)
