# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""From the judge's notices to alerts that are delivered: destinations, outbox and metrics put together."""

from __future__ import annotations

import logging
import socket
import time
from functools import partial
from typing import TYPE_CHECKING

from sockbpf.delivery.breaker import Breaker, Bucket
from sockbpf.delivery.destinations import alertmanager, open_incidents
from sockbpf.delivery.destinations.http_get import HttpGet
from sockbpf.delivery.destinations.table import ONE_WRITER, how_told
from sockbpf.delivery.incidents import Incidents, led
from sockbpf.delivery.outbox import Outbox
from sockbpf.delivery.queue import Queue
from sockbpf.delivery.routes import Route
from sockbpf.delivery.worker import Workers
from sockbpf.monitor.delivery_times import late_s, round_s
from sockbpf.monitor.metrics_out import MetricsOut
from sockbpf.monitor.new_alerts import NewAlerts
from sockbpf.monitor.rehearsal import maker_of, rehearse
from sockbpf.monitor.rule_terms import destinations_by_rule
from sockbpf.monitor.standing import Gauges, Watching
from sockbpf.process.clock import boottime_s, monotonic_ns
from sockbpf.record.alert import (
    CLEARED,
    HEARTBEAT,
    OF_MONITOR,
    STARTED,
    STOPPED,
    Notice,
    log_line,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from sockbpf.counters import Counters
    from sockbpf.delivery.owed import Owed
    from sockbpf.delivery.transport import BatchDestination, Destination
    from sockbpf.monitor.service_looks import ServiceLooks
    from sockbpf.monitor.store_port import StorePort
    from sockbpf.record.alert import Folded
    from sockbpf.record.left import Left
    from sockbpf.settings.config import Config, Delivery
    from sockbpf.settings.destinations import AnyDestination

log = logging.getLogger(__name__)

UNWRITTEN = 50_000
"""How many alerts may wait for the disk: those of a storm while a commit takes seconds."""

LEFT = 64
"""More busy workers of earlier settings, and new settings must wait: a receiver that hangs keeps its workers."""


def _log(fields: Mapping[str, str]) -> None:
    log.info("%s", log_line(fields))


class Dispatch:
    """Sends alerts of notices, and heartbeats, to the destinations. For one thread; its workers call `_delivered`."""

    def __init__(
        self,
        config: Config,
        counters: Counters,
        open_episodes: Callable[[], int],
        store: StorePort,
        run: str,
    ) -> None:
        """Open the journal, begin to deliver its alerts, serve the metrics. Raise NoThreadError.

        `run` is the name of the monitor's run.
        """
        self._new = NewAlerts(run)
        self._counters = counters
        self._open_episodes = open_episodes
        self._store = store
        self.rehearse(config)
        self._metrics = MetricsOut(config, counters, self._gauges)
        self._outbox = Outbox(
            path=config.journal.path,
            capacity=UNWRITTEN,
            max_age_s=config.journal.max_age,
            counters=counters,
            line=_log,
        )
        found = self._outbox.found_open()
        open_incidents.take_over(found, socket.gethostname(), time.monotonic())
        alertmanager.take_over(found)
        self._config = config
        self._only = destinations_by_rule(config)
        self._incidents: dict[tuple[str, str], Incidents] = {}
        """Name and type of a destination that is told incidents -> what it was told, by earlier settings too."""
        self._routes: dict[str, Route] = {}
        self._routes = self._routes_of(config)
        self._outbox.start(self._routes.values())

    def rehearse(self, config: Config) -> None:
        """Raise ConfigError if a destination of these settings cannot be made; nothing is changed by it."""
        rehearse(config, self._maker)

    def _routes_of(self, config: Config) -> dict[str, Route]:
        """Return the routes of these settings: a route that they do not change as it is, the others ready to begin.

        If it raises, no worker that it started is left.
        """
        old = self._config
        same = {each.name: each for each in old.destinations if old.delivery == config.delivery}
        routes: dict[str, Route] = {}
        try:
            for settings in config.destinations:
                known = self._routes.get(settings.name)
                if known and same.get(settings.name) == settings:
                    routes[settings.name] = known
                else:
                    routes[settings.name] = made = self._route(settings, config.delivery, known)
                    made.workers.start()
        except BaseException:
            for route in routes.values():
                if route is not self._routes.get(route.name):
                    route.workers.cancel()
            raise
        return routes

    def _route(self, settings: AnyDestination, delivery: Delivery, known: Route | None) -> Route:
        """Make a route; if a route of this name is known, with its queue and so the alerts that it is owed."""
        breaker = Breaker(delivery.retry_first, delivery.retry_max)
        bucket = Bucket(settings.rate, settings.burst)
        queue = known.queue if known else Queue(capacity=delivery.queue, breaker=breaker, bucket=bucket)
        workers = Workers(
            settings.name,
            queue,
            self._maker(settings),
            number=1 if settings.type in ONE_WRITER else delivery.workers,
            counters=self._counters,
            delivered=self._delivered,
            refused=self._outbox.refused,
            settled=self._outbox.settled,
            round_s=round_s(settings),
        )
        take_over = partial(queue.hand_over, workers, capacity=delivery.queue, breaker=breaker, bucket=bucket)
        wants = partial(self._wants, settings, self._incidents_of(settings))
        return Route(settings.name, wants, queue, workers, take_over)

    def _incidents_of(self, settings: AnyDestination) -> Incidents | None:
        """Return what says which alerts a destination is told; None if it is told all."""
        how = how_told(settings)
        if how is None:
            return None
        made = Incidents(how, partial(self._counters.add, "paired"))
        return self._incidents.setdefault((settings.name, settings.type), made)

    def _wants(
        self, settings: AnyDestination, incidents: Incidents | None, fields: Mapping[str, str]
    ) -> bool:
        """Whether a destination is to get this alert; what is about the monitor has no direction and no rule."""
        only = self._only.get(fields.get("rule", ""))
        return (
            fields.get("type") in {None, *settings.types}
            and (only is None or settings.name in only)
            and (incidents is None or incidents.tells(fields))  # of events too that it does not get
            and fields["event"] in settings.events
        )

    def _maker(self, settings: AnyDestination) -> Callable[[], Destination | BatchDestination]:
        if settings.type == "http" and self._store.is_meant(str(settings.url)):
            return partial(HttpGet, settings, self._store.place)
        return maker_of(settings)

    def _delivered(self, owed: Owed, fields: Mapping[str, str]) -> None:
        self._outbox.settled(owed)
        is_alert = fields["event"] not in OF_MONITOR
        if is_alert and (seconds := late_s(owed, fields)) is not None:
            self._metrics.delivered(owed.destination, seconds, fields.get("id", ""))

    def show(self, watching: Callable[[], Watching], looks: ServiceLooks) -> None:
        """Have the metrics show what the monitor watches by, and the queues."""
        self._metrics.show(watching, looks)

    def alert(self, notices: Sequence[Notice | Folded]) -> None:
        """Make an alert of each notice and give it to the outbox; never waits."""
        offset_ns = time.time_ns() - monotonic_ns()
        alerts = [
            self._new.of_notice(notice, offset_ns, is_kept=self._tells_ends(notice))
            for notice in led(notices)
        ]
        if alerts:
            self._counters.add("alerts", len(alerts))
            self._outbox.put(alerts)

    def _tells_ends(self, notice: Notice | Folded) -> bool:
        """Tell whether the end of this episode is told: else nobody can know what is open."""
        events = (notice if isinstance(notice, Notice) else notice.notice).applied.events
        return CLEARED in (self._config.events if events is None else events)

    def left_open(self) -> list[Left]:
        """Return the episodes that an earlier run told and did not end, as far as the journal has been read."""
        left, self._outbox.left_open = self._outbox.left_open, []
        return left

    def flush(self, seconds: float) -> bool:
        """Wait until every alert is written and logged, not until it is delivered; False if that took longer."""
        return self._outbox.flush(seconds)

    def heartbeat(self, about: Mapping[str, object]) -> None:
        """Send a heartbeat, with what is said about the run, the counters, and how many alerts are owed."""
        self._counters.add("heartbeats")
        told = (
            dict(about)
            | self._counters.snapshot()
            | {
                "open_episodes": self._open_episodes(),
                "journal_depth": self._outbox.routes.depth(),
                "oldest_undelivered_seconds": round(self.oldest_owed_s(), 3),
            }
        )
        self._outbox.put([self._new.of_monitor(HEARTBEAT, told)])

    def started(self, about: Mapping[str, object]) -> None:
        """Tell that all first looks are done, if that is asked for: what an earlier run left open has ended."""
        self._tell_run(STARTED, about)

    def stopped(self) -> None:
        """Tell that this run ends, if that is asked for."""
        self._tell_run(STOPPED, {"open_episodes": self._open_episodes()})

    def _tell_run(self, event: str, about: Mapping[str, object]) -> None:
        if event in self._config.events:
            self._counters.add("alerts")
            self._outbox.put([self._new.of_monitor(event, about)])

    def owes(self) -> bool:
        """Tell whether an alert is owed."""
        return self._outbox.routes.depth() > 0

    def serves(self) -> tuple[str, int] | None:
        """Return the address and port that the metrics are served on; None if they are not."""
        return self._metrics.serves()

    def owed_by_destination(self) -> dict[str, tuple[int, bool]]:
        """Return of each destination how many alerts it is owed, and whether it is taken for dead."""
        routes = list(self._routes.values())
        return {route.name: (route.queue.depth(), route.queue.is_broken()) for route in routes}

    def oldest_owed_s(self) -> float:
        """Return how many seconds ago the oldest alert that is owed was made; 0 if none is owed."""
        oldest_s = self._outbox.routes.oldest_s()
        return boottime_s() - oldest_s if oldest_s is not None else 0.0

    def is_busy(self) -> bool:
        """Return whether so many requests by earlier settings are under way that new settings must wait."""
        return self._outbox.routes.left_under_way() > LEFT

    def reload(self, config: Config) -> Callable[[], None]:
        """Make everything ready for new settings, and return the function that applies them.

        From its call on no request begins by the old settings; one that is under way ends, and its result counts.
        If this raises, the old settings stay in use.
        """
        send_metrics, drop = self._metrics.ready(config)
        try:
            routes = self._routes_of(config)
        except BaseException:
            drop()
            raise

        def apply() -> None:
            send_metrics()
            self._config, self._routes, self._only = config, routes, destinations_by_rule(config)
            self._outbox.routes.exchange(routes.values())

        return apply

    def close(self, seconds: float) -> int:
        """Deliver for at most this time; return how many alerts stay owed."""
        owed = self._outbox.close(time.monotonic() + seconds)
        self._metrics.stop()
        return owed

    def _gauges(self) -> Gauges:
        by_name = self.owed_by_destination()
        return Gauges(
            open_episodes=self._open_episodes(),
            journal_depth=self._outbox.routes.depth(),
            oldest_undelivered_seconds=self.oldest_owed_s(),
            owed={name: owed for name, (owed, _) in by_name.items()},
            breaker_open={name: is_dead for name, (_, is_dead) in by_name.items()},
        )
