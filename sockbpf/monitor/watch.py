# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Judges beside the policy, and watches: a look that a thread of its own takes again and again, for one judge.

A watch never waits in the loop: its thread looks, puts what it saw down and wakes the loop, which gives it to
the judge.
"""

from __future__ import annotations

import logging
import threading
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from sockbpf.process.life import REST_S, described, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable

    from sockbpf.counters import Counters
    from sockbpf.process.life import Pulse
    from sockbpf.record.alert import Notice

log = logging.getLogger(__name__)

Seen = TypeVar("Seen")
Judged_contra = TypeVar("Judged_contra", contravariant=True)

STOP_S = 2.0
"""So long the end of a look is waited for."""


class Judge(Protocol):
    """What makes notices of episodes of its own. For the loop's thread."""

    def on_time(self, now_ns: int) -> list[Notice]:
        """Return the notices that are due by now."""

    def next_due_ns(self) -> int | None:
        """Return the instant at which `on_time` must be called; None if nothing is due. CLOCK_MONOTONIC."""

    def is_open(self, id_: str) -> bool:
        """Tell whether the episode with this id is open."""

    def __len__(self) -> int:
        """Return how many episodes are open."""


class LookJudge(Judge, Protocol[Judged_contra]):
    """A judge of what a watch sees."""

    def on_look(self, seen: Judged_contra) -> list[Notice]:
        """Take what was seen, and return the notices."""


class Watching(Protocol):
    """What the loop needs of a watch."""

    @property
    def has_looked(self) -> bool:
        """Tell whether the first look has been taken: what happens from now on is seen."""

    def notices(self) -> list[Notice]:
        """Give what was seen meanwhile to the judge, and return the notices."""

    def stop(self) -> None:
        """End its thread."""


class Watch(Generic[Seen]):
    """Looks each `interval_s` seconds; `look` may raise OSError, which is counted: the next look may work."""

    def __init__(
        self,
        name: str,
        look: Callable[[], Seen],
        judge: LookJudge[Seen],
        interval_s: float,
        *,
        on_seen: Callable[[], None],
        counters: Counters,
    ) -> None:
        self._name = name
        self._look = look
        self._judge = judge
        self.interval_s = interval_s
        """May be changed at any time: it holds from the look after the next."""
        self._on_seen = on_seen
        self._counters = counters
        self._seen: SimpleQueue[Seen] = SimpleQueue()
        self._stop = threading.Event()
        self._has_looked = threading.Event()
        self._thread = start_thread(name, self._run)

    @property
    def has_looked(self) -> bool:
        """Tell whether the first look has been taken, or has failed."""
        return self._has_looked.is_set()

    def notices(self) -> list[Notice]:
        """Give what was seen meanwhile to the judge, and return the notices."""
        notices: list[Notice] = []
        while True:
            try:
                seen = self._seen.get_nowait()
            except Empty:
                return notices
            notices += self._judge.on_look(seen)

    def stop(self) -> None:
        """End the thread after the look under way."""
        self._stop.set()
        self._thread.join(timeout=STOP_S)

    def _run(self, pulse: Pulse) -> None:
        due_s = 0.0
        while not self._stop.wait(min(due_s, REST_S)):
            pulse.beat()
            due_s -= REST_S
            if due_s > 0:
                continue
            due_s = self.interval_s
            try:
                self._seen.put(self._look())
            except OSError as fault:
                self._counters.add("watch_failed")
                log.warning("a look at %s failed: %s", self._name, described(fault))
            else:
                self._on_seen()
            self._has_looked.set()
