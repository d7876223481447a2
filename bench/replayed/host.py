# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The monitor on a record: all that `build` puts together, its loop, its outbox and its HTTP.

Only the kernel's side is the record's, and time goes on as fast as the loop is done with it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from unittest.mock import patch

from bench.replayed.kernel import Kernel, NoCloseLook, Sweeps
from bench.replayed.record import S, Service
from sockbpf.counters import Counters
from sockbpf.judge.services import Service as Seen
from sockbpf.kernel.look.whose import Cgroups, cgroup_root
from sockbpf.monitor import build, causes, dispatch, loop, own, schedule, service_looks
from sockbpf.monitor.history import History
from sockbpf.monitor.loop import Monitor
from sockbpf.monitor.rule_terms import rules_of
from sockbpf.monitor.service import Service as Manager
from sockbpf.monitor.store_child import StoreProcess
from sockbpf.record.history import STEP_S
from sockbpf.settings.config import Config

FIRST_NS = 1000 * S
"""The record's beginning by its CLOCK_MONOTONIC."""
REALLY_S = 0.002
"""So long real things are waited for at a time."""
MOST_OWED = 500
"""So many alerts may be owed while time goes on."""
DELIVERED_S = 60.0
TOLD_EACH_S = 7200
"""The history is sent each so many seconds of the record."""


class Clock:
    """The record's: it goes on when the loop sleeps."""

    def __init__(self, begins_s: int) -> None:
        """`begins_s` is when the record begins, Unix time."""
        self.now_ns = FIRST_NS
        self._offset_ns = begins_s * S - FIRST_NS

    def ns(self) -> int:
        return self.now_ns

    def seconds(self) -> float:
        return self.now_ns / S

    def unix_s(self) -> float:
        return self.time_ns() / S

    def time_ns(self) -> int:
        """Return Unix time; by this name, and the next one, in place of the module `time`."""
        return self.now_ns + self._offset_ns

    monotonic = staticmethod(time.monotonic)
    """What really goes by, for what is waited for."""


class PlayedHistory(History):
    """The history with looks and sendings by the record's clock, by no threads."""

    clock: Clock

    def start_if_wanted(self, config: Config) -> None:
        if self._stores(config):
            self._looks.on_seen = self._seen

    def _seen(self, seen: Mapping[str, Seen]) -> None:
        self._recorder.record(seen, self.clock.unix_s(), self.clock.seconds())

    def look(self) -> None:
        if self._wanted:
            self._looks.begin().result()

    def send(self, *, is_end: bool = False) -> None:
        self._change()
        self._take(None if is_end else self.clock.unix_s())
        self._tell(lambda: None)


class Playing:
    """What the loop sleeps on: each sleep takes the record to its next instant."""

    def __init__(self, clock: Clock, kernel: Kernel, ends_ns: int) -> None:
        self._clock = clock
        self._kernel = kernel
        self._ends_ns = ends_ns
        self._is_woken = False
        self.monitor: Monitor | None = None
        self.is_armed = False
        self._look_ns = FIRST_NS + STEP_S * S // 2
        self._send_ns = FIRST_NS + TOLD_EACH_S * S

    def wake_by(self, _descriptor: int) -> None:
        """Nothing of a record is readable."""

    def wake(self) -> None:
        self._is_woken = True

    def sleep(self, seconds: float) -> None:
        assert self.monitor
        if not self.is_armed:
            time.sleep(REALLY_S)  # the threads of the monitor begin
            return
        if self._is_woken:
            self._is_woken = False
            return
        until_ns = self._clock.now_ns + max(1000, math.ceil(seconds * S))
        changes_ns = self._kernel.next_ns() or self._ends_ns
        now_ns = min(until_ns, changes_ns, self._look_ns, self._ends_ns)
        self._clock.now_ns = now_ns
        self._kernel.play(now_ns)
        if now_ns == self._look_ns:
            self._remember()
        if now_ns == self._ends_ns:
            self.monitor.stop()
        self._deliver(self.monitor, MOST_OWED)

    def end(self) -> None:
        """Wait until all is told."""
        assert self.monitor
        self.monitor.dispatch.flush(DELIVERED_S)
        self._deliver(self.monitor, 0)
        _played(self.monitor).send(is_end=True)

    def _remember(self) -> None:
        """Have a look taken, unless all is empty, which leaves no sample."""
        assert self.monitor
        self._look_ns += STEP_S * S
        if self._kernel.holds_anything:
            _played(self.monitor).look()
        if self._clock.now_ns >= self._send_ns:
            self._send_ns += TOLD_EACH_S * S
            _played(self.monitor).send()

    def _deliver(self, monitor: Monitor, most: int) -> None:
        begun_s = time.monotonic()
        while sum(owed for owed, _ in monitor.dispatch.owed_by_destination().values()) > most:
            time.sleep(REALLY_S)
            assert time.monotonic() - begun_s < DELIVERED_S, "alerts are not delivered"


def _played(monitor: Monitor) -> PlayedHistory:
    assert isinstance(monitor.history, PlayedHistory)
    return monitor.history


class _Look:
    """What chooses how to look at sockets, and has no choice."""

    name = "a record"

    def __init__(self, *_: str) -> None:
        """Nothing is compiled."""

    def take(self, _counters: Counters) -> _Look:
        return self

    def close(self) -> None:
        """Nothing is open."""


@dataclass(frozen=True)
class Played:
    """What became of it: real seconds, and the counters that are not 0."""

    took_s: float
    counters: dict[str, int]


def play(config: Config, services: Sequence[Service], begins_s: int, seconds: int) -> Played:
    """Run the monitor of these settings on a record that begins at `begins_s`, Unix time."""
    clock, counters = Clock(begins_s), Counters()
    cgroups = Cgroups(cgroup_root())
    kernel = Kernel(services, rules_of(config), FIRST_NS, lambda number: cgroups.path(number) or "")
    playing = Playing(clock, kernel, FIRST_NS + seconds * S)
    begun_s = time.monotonic()
    with _in_place_of_the_kernel(clock, kernel, playing):
        monitor = build.build(config, counters, Manager({}), StoreProcess(config, counters), lambda: config)
        playing.monitor = monitor
        try:
            monitor.run(lambda: setattr(playing, "is_armed", True))
            playing.end()
        finally:
            monitor.close()
    counted = {name: number for name, number in counters.snapshot().items() if number}
    return Played(time.monotonic() - begun_s, counted)


@contextmanager
def _in_place_of_the_kernel(clock: Clock, kernel: Kernel, playing: Playing) -> Iterator[None]:
    history = type("OfRecord", (PlayedHistory,), {"clock": clock})

    def sweeps(_: object, on_done: Callable[[], None]) -> Sweeps:
        return Sweeps(kernel, on_done)

    stand_ins: tuple[tuple[object, str, object], ...] = (
        (build, "arm", lambda *_, **__: kernel),
        (build, "Choice", _Look),
        (build, "Owners", lambda: kernel),
        (build, "SweepThread", sweeps),
        (build, "Waking", lambda: playing),
        (build, "_history", lambda: history),
        (build, "monotonic_s", clock.seconds),
        (loop, "monotonic_s", clock.seconds),
        (loop, "monotonic_ns", clock.ns),
        (dispatch, "monotonic_ns", clock.ns),
        (dispatch, "time", clock),
        (causes, "CloseLook", NoCloseLook),
        (own, "open_inodes", set),
        (schedule, "TIDY_S", 3600.0),
        (service_looks, "glance", kernel.glance),
        (service_looks, "FRESH_S", 0.0),
        (service_looks, "SHARE", math.inf),
    )
    with ExitStack() as stack:
        for module, name, value in stand_ins:
            stack.enter_context(patch.object(module, name, value))
        yield
