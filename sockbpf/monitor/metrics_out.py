# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Where the metrics go, by the settings: the server for Prometheus, receivers of OTLP; nothing where nobody asks."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from sockbpf.settings.destinations import OtlpSettings

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sockbpf.counters import Counters
    from sockbpf.monitor.metrics import Metrics
    from sockbpf.monitor.metrics_push import MetricsPush
    from sockbpf.monitor.service_looks import ServiceLooks
    from sockbpf.monitor.standing import Gauges, Watching
    from sockbpf.settings.config import Config


class MetricsOut:
    """The metrics, once anybody is to get them. For one thread; `delivered` is for any."""

    def __init__(self, config: Config, counters: Counters, gauges: Callable[[], Gauges]) -> None:
        """Serve and send by these settings. Raise NoThreadError."""
        self._counters = counters
        self._gauges = gauges
        self._start_ns = time.time_ns()
        self._metrics: Metrics | None = None
        self._shown: tuple[Callable[[], Watching], ServiceLooks] | None = None
        self._pushes: list[tuple[OtlpSettings, MetricsPush]] = []
        if config.metrics.listen:
            self._made(config).start(*config.metrics.listen)
        self.ready(config)[0]()

    def _made(self, config: Config) -> Metrics:
        if self._metrics is None:
            from sockbpf.monitor.metrics import Metrics  # what it needs is wanted only here

            names = [settings.name for settings in config.destinations]
            self._metrics = Metrics(self._counters, self._gauges, names)
            if self._shown:
                self._metrics.show(*self._shown)
        return self._metrics

    def show(self, watching: Callable[[], Watching], looks: ServiceLooks) -> None:
        """Have the metrics show what the monitor watches by, and the queues."""
        self._shown = watching, looks
        if self._metrics:
            self._metrics.show(watching, looks)

    def ready(self, config: Config) -> tuple[Callable[[], None], Callable[[], None]]:
        """Make ready what sends by new settings; return what applies it, and what drops it again.

        Raise NoThreadError, UnusableError: then nothing is changed.
        """
        wanted = [its for its in config.destinations if isinstance(its, OtlpSettings) and its.metrics]
        new: list[MetricsPush] = []
        now: list[tuple[OtlpSettings, MetricsPush]] = []
        try:
            for settings in wanted:
                known = next((push for its, push in self._pushes if its == settings), None)
                if known is None:
                    new.append(self._push(settings, config))
                now.append((settings, known or new[-1]))
        except BaseException:
            _stop(new)
            raise

        def apply() -> None:
            kept = [push for _, push in now]
            _stop(push for _, push in self._pushes if push not in kept)
            self._pushes = now

        return apply, lambda: _stop(new)

    def _push(self, settings: OtlpSettings, config: Config) -> MetricsPush:
        from sockbpf.monitor.metrics_push import MetricsPush

        return MetricsPush(settings, self._made(config).collected, self._counters, self._start_ns)

    def delivered(self, destination: str, seconds: float, id_: str) -> None:
        """Take note of a delivery, so long after the alert's `timestamp`, of an episode; from any thread."""
        if self._metrics:
            self._metrics.delivered(destination, seconds, id_)

    def serves(self) -> tuple[str, int] | None:
        """Return the address and port that Prometheus can ask; None if it cannot."""
        return self._metrics.serves() if self._metrics else None

    def stop(self) -> None:
        """Close the port, and send no more."""
        _stop(push for _, push in self._pushes)
        self._pushes = []
        if self._metrics:
            self._metrics.stop()


def _stop(pushes: Iterable[MetricsPush]) -> None:
    for push in pushes:
        push.stop()
