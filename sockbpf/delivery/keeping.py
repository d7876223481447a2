# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the journal is to hold, and the thread that has it so: it alone waits for the disk.

A commit that takes more than `SLOW_S` keeps nobody waiting any longer: alerts go on from memory, it is said and
counted. What came meanwhile is written when the disk answers again, but for what was delivered by then. Where the
journal fails altogether, it is opened again every `REOPEN_S` and made to hold what is owed then.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from typing import TYPE_CHECKING

from sockbpf.delivery.change import NOTHING, Change, JournalState, LeftOwed
from sockbpf.delivery.journal import Journal, JournalError, JournalHeldError
from sockbpf.errors import UnsupportedError
from sockbpf.process.life import start_thread

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from sockbpf.counters import Counters
    from sockbpf.delivery.owed import Owed
    from sockbpf.process.life import Pulse

log = logging.getLogger(__name__)

SLOW_S = 1.0
"""So long may a commit keep the alerts waiting that are in it."""

FORGET_S = 1.0
"""What was settled is forgotten on disk after so long, if nothing else is written before: there is no haste."""

OPEN_S = 10.0
"""So long may the opening keep the monitor from starting: a large journal is read on a busy machine."""

REOPEN_S = 30.0
"""From one try to open a journal that failed to the next."""


class Keeper:
    """Has a thread that keeps the journal at `path`."""

    def __init__(self, path: Path, counters: Counters) -> None:
        """Begin to open it. Raise NoThreadError."""
        self._path = path
        self._counters = counters
        self._changed = threading.Condition()
        """Guards what follows, but for the journal, which is the thread's."""
        self._state = JournalState.OPENING
        self._found = NOTHING
        self._is_read = False
        """Whether what an earlier monitor owed is known."""
        self._change = Change()
        self._being_written = 0
        """How many alerts are in the commit under way."""
        self._last = (0, 0)
        self._wanted_s = float("inf")
        """When the change is to be written."""
        self._asked = self._done = 0
        self._busy_s: float | None = None
        """Since when the thread has waited for the disk."""
        self._is_counted = False
        self._slow_s: float | None = None
        """Since when alerts have gone on without waiting for the disk."""
        self._closing = False
        self._journal: Journal | None = None
        self._held: JournalHeldError | None = None
        # A disk that hangs has no limit, and another process would wait for it too.
        self._thread = start_thread("journal", self._run, limit_s=math.inf, restart_helps=False)

    # for the outbox

    def wait_open(self) -> bool:
        """Wait until it is known whether the journal can be used, for `OPEN_S` at most; return whether it can.

        Raise UnsupportedError when another monitor has it; it is not tried again then.
        """
        with self._changed:
            if not self._changed.wait_for(lambda: self._state is not JournalState.OPENING, OPEN_S):
                self._look()
            if self._held:
                self._closing = True
                self._changed.notify_all()
                raise UnsupportedError(f"{self._held}. Remedy: stop it, or name another journal > path here")
            return self._state is JournalState.FOUND

    def found(self) -> LeftOwed | None:
        """Return what it owes once it is open; `begin` is to follow. None if there is no news."""
        with self._changed:
            return self._found if self._state is JournalState.FOUND else None

    def begin(self, owed: Iterable[Owed] | None, last_seq: int, last_n: int) -> None:
        """Hold this from now on, instead of what was found; None stands for what was found."""
        with self._changed:
            self._found = NOTHING
            self._is_read = True
            self._last = (last_seq, last_n)
            self._state = JournalState.IN_USE
            if owed is not None:
                gone = self._change.settled
                self._change = Change({one.n: one for one in owed if one.n not in gone}, whole=True)
                self._ask()

    def made(self, owed: Iterable[Owed], last_seq: int, last_n: int) -> None:
        """Take note of what is owed from now on, and wait until it is on the disk, unless that is slow or fails."""
        with self._changed:
            self._last = (last_seq, last_n)
            if self._state is not JournalState.IN_USE:
                self._look()
                return
            self._change.made.update((one.n, one) for one in owed)
            asked = self._ask()
            if self._slow_s is None and not self._changed.wait_for(
                lambda: self._done >= asked or self._state is not JournalState.IN_USE, SLOW_S
            ):
                self._look()

    def settled(self, owed: Owed) -> None:
        """Take note that this is not owed any more; from any thread."""
        with self._changed:
            known = self._state in {JournalState.IN_USE, JournalState.FOUND}
            if known and self._change.made.pop(owed.n, None) is None:
                self._change.settled.add(owed.n)
                if self._wanted_s == float("inf"):
                    self._wanted_s = time.monotonic() + FORGET_S
                    self._changed.notify_all()

    def look(self) -> None:
        """Say if the disk has kept us waiting for too long."""
        with self._changed:
            self._look()

    def is_quiet(self) -> bool:
        """Return whether there is nothing to be written, nor to be tried again."""
        with self._changed:
            return self._state is JournalState.IN_USE and not self._change and self._busy_s is None

    def close(self, deadline_s: float) -> None:
        """Write what is to be written; give up waiting for it at the deadline, monotonic seconds, and say so."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._thread.join(max(0.0, deadline_s - time.monotonic()))
        with self._changed:
            lost = self._being_written + len(self._change.made)
            if self._thread.is_alive():
                log.error(
                    "the journal's disk does not answer, it is not waited for: %d alerts that are owed are perhaps "
                    "not in %s and lost, what was delivered last is perhaps delivered again",
                    lost,
                    self._path,
                )

    def _ask(self) -> int:
        self._asked += 1
        self._wanted_s = 0.0
        self._changed.notify_all()
        return self._asked

    def _look(self) -> None:
        if self._busy_s is None or self._is_counted or time.monotonic() - self._busy_s < SLOW_S:
            return
        self._is_counted = True
        self._counters.add("journal_slow")
        if self._slow_s is None:
            self._slow_s = self._busy_s
            log.error(
                "the journal's disk is slow, it keeps %s waiting for more than %g s: alerts go on from memory",
                self._path,
                SLOW_S,
            )

    # the thread

    def _run(self, _: Pulse) -> None:
        self._open()
        while True:
            with self._changed:
                while not (is_due := self._is_due()) and self._is_compact():
                    self._changed.wait(self._pause_s())
                if self._closing and not (self._state is JournalState.IN_USE and self._change):
                    break
            if self._journal is None:
                self._open()
                continue
            if is_due:
                self._write(self._journal)
            self._make_compact()
        if self._journal:
            self._journal.close()

    def _is_due(self) -> bool:
        return self._closing or (
            self._state in {JournalState.IN_USE, JournalState.FAILED} and time.monotonic() >= self._wanted_s
        )

    def _is_compact(self) -> bool:
        return self._journal is None or self._journal.is_compact

    def _make_compact(self) -> None:
        """Do one step of it, after the alerts of the last commit have gone on."""
        if self._journal and not self._journal.is_compact:
            self._begin_to_wait(0)
            self._journal.make_compact()
            with self._changed:
                self._end_to_wait()

    def _pause_s(self) -> float | None:
        if self._state not in {JournalState.IN_USE, JournalState.FAILED} or self._wanted_s == float("inf"):
            return None
        return max(0.0, self._wanted_s - time.monotonic())

    def _open(self) -> None:
        self._begin_to_wait(0)
        try:
            self._journal = Journal(self._path)
            self._counters.add("set_aside", self._journal.set_aside)
            found = NOTHING
            if not self._is_read:
                found = LeftOwed(self._journal.owed(), self._journal.last_seq, self._journal.last_n)
        except JournalError as error:
            if isinstance(error, JournalHeldError):
                self._held = error
            self._fail(error)
            return
        with self._changed:
            again = self._state is JournalState.FAILED
            self._found = found
            self._state = JournalState.FOUND
            self._end_to_wait()
        if again:
            log.warning("the journal is used again: %s", self._path)

    def _write(self, journal: Journal) -> None:
        with self._changed:
            change, self._change = self._change, Change()
            asked, last, self._wanted_s = self._asked, self._last, float("inf")
        self._begin_to_wait(len(change.made))
        try:
            if change.whole:
                journal.replace(change.made.values(), *last)
            elif change:
                journal.write(change.made.values(), change.settled, *last)
        except JournalError as error:
            self._fail(error)
            return
        with self._changed:
            self._done = asked
            self._end_to_wait()

    def _begin_to_wait(self, alerts: int) -> None:
        with self._changed:
            self._busy_s = time.monotonic()
            self._being_written = alerts
            self._is_counted = False

    def _end_to_wait(self) -> None:
        """Take note that the disk has answered; what it was too slow for is written at once."""
        self._look()
        now_s = time.monotonic()
        took_s, self._busy_s, self._being_written = now_s - (self._busy_s or now_s), None, 0
        if self._slow_s is not None:
            if took_s < SLOW_S or not self._change:
                log.warning(
                    "the journal's disk answers again after %.1f s: %s", now_s - self._slow_s, self._path
                )
                self._slow_s = None
            else:
                self._wanted_s = 0.0
        self._changed.notify_all()

    def _fail(self, error: JournalError) -> None:
        """Go on in memory: the next start will not know what is owed now."""
        log.error("the journal cannot be used, alerts are kept in memory alone: %s", error)
        self._counters.add("journal_failed")
        if self._journal:
            self._journal.close()
            self._journal = None
        with self._changed:
            self._state = JournalState.FAILED
            self._change = Change()
            self._wanted_s = time.monotonic() + REOPEN_S
            self._busy_s = self._slow_s = None
            self._being_written = 0
            self._changed.notify_all()
