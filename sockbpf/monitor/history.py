# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The history of services: has looks taken, and sends what they saw to the stores that get alerts, if there are any.

The looks are those of the metrics, taken by the thread that sweeps; one thread asks for them, another one sends.
"""

from __future__ import annotations

import math
import socket
import threading
import time
from typing import TYPE_CHECKING

from sockbpf.delivery.destinations.history_post import bodies_of
from sockbpf.judge.recorder import Recorder
from sockbpf.monitor.history_push import HistoryPush
from sockbpf.process.life import REST_S, passing, start_thread
from sockbpf.record.history import STEP_S
from sockbpf.settings.destinations import HttpSettings
from sockbpf.settings.stores import stores_among

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from contextlib import AbstractContextManager

    from sockbpf.counters import Counters
    from sockbpf.judge.services import Service
    from sockbpf.monitor.service_looks import ServiceLooks
    from sockbpf.monitor.store_port import StorePort
    from sockbpf.process.life import Pulse
    from sockbpf.settings.config import Config
    from sockbpf.settings.destinations import BatchStoreSettings

SHARE = 0.008
"""The part of a core that these looks may take: where one takes long there are fewer."""
TELL_S = 60.0
"""From one sending to the next."""
TURN_S = 30.0
"""After so long the next store's turn begins; a request under way is waited for."""
STOP_S = 1.0
"""How long the last sending is waited for when the monitor ends."""
LIMIT_S = 900.0
"""What one request may take at the very most, look-up of a name and redirects included."""


class History:
    """Looks and sends from `start_if_wanted` until `stop`, to the stores of the settings that are in use."""

    def __init__(self, config: Config, counters: Counters, store: StorePort, looks: ServiceLooks) -> None:
        self._is_kept = config.history.keep > 0
        self._counters = counters
        self._store = store
        self._looks = looks
        self._recorder = Recorder(socket.gethostname())
        self._recording = threading.Lock()
        self._wanted: tuple[BatchStoreSettings | HttpSettings, ...] = ()
        self._pushes: list[HistoryPush] = []
        """Of the thread that sends."""
        self._due_s = 0.0
        self._ends = threading.Event()
        self._looking: threading.Thread | None = None
        self._sending: threading.Thread | None = None

    @classmethod
    def begin(cls, config: Config, counters: Counters, store: StorePort, looks: ServiceLooks) -> History:
        """Return it, at work if it is wanted. Raise NoThreadError."""
        made = cls(config, counters, store, looks)
        made.start_if_wanted(config)
        made.use(config)
        return made

    def start_if_wanted(self, config: Config) -> None:
        """Start the threads, unless they run or no store gets alerts. Raise NoThreadError."""
        if self._stores(config):
            self._looks.on_seen = self._seen
            self._looking = self._looking or start_thread("history", self._look)
            self._sending = self._sending or start_thread("history-sending", self._send, limit_s=LIMIT_S)

    def use(self, config: Config) -> None:
        """Send to the stores of these settings from now on."""
        self._wanted = self._stores(config)

    def stop(self) -> None:
        """Send what was seen, as far as there is time, and end."""
        self._ends.set()
        if self._sending:
            self._sending.join(STOP_S)

    def _stores(self, config: Config) -> tuple[BatchStoreSettings | HttpSettings, ...]:
        if not self._is_kept:
            return ()
        return stores_among(config.destinations, self._store.is_meant)

    def _seen(self, seen: Mapping[str, Service]) -> None:
        if self._wanted:
            with self._recording, passing(self._counters, "history_lost", "a look was not recorded"):
                self._recorder.record(seen, time.time(), time.monotonic())

    def _look(self, pulse: Pulse) -> None:
        while not self._ends.wait(min(REST_S, left_s := self._until_look_s())):
            pulse.beat()
            if self._wanted and left_s <= REST_S:
                self._looks.begin()

    def _until_look_s(self) -> float:
        """Return how long to wait for the middle of a step in which a look is due."""
        steps = max(1, math.ceil(self._looks.cost_s / SHARE / STEP_S))
        length_s = steps * STEP_S
        return length_s - (time.time() - STEP_S / 2) % length_s

    def _send(self, pulse: Pulse) -> None:
        self._due_s = time.monotonic() + TELL_S
        is_over = False
        while not is_over:
            is_over = self._ends.wait(min(REST_S, max(0.0, self._due_s - time.monotonic())))
            pulse.beat()
            if is_over or time.monotonic() >= self._due_s:
                with self._passing():
                    self._change()
                with self._passing():
                    self._take(None if is_over else time.time())
                self._tell(pulse.beat)
        for push in self._pushes:
            with self._passing():
                push.close()

    def _tell(self, beat: Callable[[], None]) -> None:
        def meanwhile() -> None:
            beat()
            if time.monotonic() >= self._due_s:
                self._take(time.time())

        for push in self._pushes:
            with self._passing():
                push.send(meanwhile, time.monotonic() + TURN_S)

    def _take(self, now_s: float | None) -> None:
        """Have what was seen sent: with None that of the running step too."""
        self._due_s = time.monotonic() + TELL_S
        with self._recording:
            told = self._recorder.take(now_s)
        bodies = list(bodies_of(told))
        for push in self._pushes:
            push.add(bodies)

    def _passing(self) -> AbstractContextManager[None]:
        return passing(self._counters, "history_lost", "the history was not told")

    def _change(self) -> None:
        """Have a push for each store that is wanted; those that stay the same go on."""
        wanted = self._wanted
        for push in self._pushes:
            if push.settings not in wanted:
                push.close()
        known = {push.settings.name: push for push in self._pushes if push.settings in wanted}
        place = self._store.place
        self._pushes = [
            known.get(its.name)
            or HistoryPush(its, place if isinstance(its, HttpSettings) else None, self._counters)
            for its in wanted
        ]
