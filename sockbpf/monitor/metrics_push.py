# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The metrics to a receiver of OTLP, each interval, by a thread of its own.

What could not be sent is not sent again: sums are those since the start, and the next sending has them.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from typing import TYPE_CHECKING

from sockbpf.delivery.breaker import ASKED_MAX_S
from sockbpf.delivery.destinations.otlp_post import OtlpPost, metrics_wire
from sockbpf.delivery.transport import TransportError
from sockbpf.monitor.delivery_times import round_s
from sockbpf.process.life import REST_S, passing, start_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from prometheus_client import Metric

    from sockbpf.counters import Counters
    from sockbpf.process.life import Pulse
    from sockbpf.settings.destinations import OtlpSettings

log = logging.getLogger(__name__)


class MetricsPush:
    """Sends what `collected` returns, from when it is made until `stop`; `start_ns` is when counting began."""

    def __init__(
        self,
        settings: OtlpSettings,
        collected: Callable[[], Iterable[Metric]],
        counters: Counters,
        start_ns: int,
    ) -> None:
        """Start the thread. Raise NoThreadError, UnusableError."""
        self._settings = settings
        self._collected = collected
        self._counters = counters
        self._start_ns = start_ns
        self._request = metrics_wire().metrics_request
        self._post = OtlpPost(settings, "/v1/metrics")
        self._ends = threading.Event()
        self._fails = False
        start_thread(f"{settings.name}-metrics", self._run, limit_s=REST_S + round_s(settings))

    def stop(self) -> None:
        """Have the thread end once a request that is under way has; not waited for."""
        self._ends.set()

    def _run(self, pulse: Pulse) -> None:
        due_s = time.monotonic() + self._settings.metrics
        while not self._ends.wait(min(REST_S, max(0.0, due_s - time.monotonic()))):
            pulse.beat()
            if time.monotonic() >= due_s:
                due_s = max(due_s + self._settings.metrics, time.monotonic())
                with passing(self._counters, "metrics_failed", "metrics by OTLP"):
                    due_s = max(due_s, time.monotonic() + self._sent())
        self._post.close()

    def _sent(self) -> float:
        """Send once; return for how many seconds the receiver asked to be left alone."""
        message = self._request(
            self._collected(),
            socket.gethostname(),
            self._settings.resource,
            start_ns=self._start_ns,
            now_ns=time.time_ns(),
        )
        try:
            refused, said = self._post.send(message)
        except TransportError as failed:
            self._failed(str(failed))
            return min(failed.retry_after_s or 0.0, ASKED_MAX_S)
        if refused:
            self._failed(f"{refused} points were refused: {said}")
        elif self._fails:
            self._fails = False
            log.info("the metrics are sent to %s again", self._settings.name)
        return 0.0

    def _failed(self, reason: str) -> None:
        """Count it, and log the first of several."""
        self._counters.add("metrics_failed")
        level = logging.DEBUG if self._fails else logging.WARNING
        self._fails = True
        log.log(level, "the metrics could not be sent to %s: %s", self._settings.name, reason)
