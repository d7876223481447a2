# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The destinations as the outbox sees them: which of them want an alert, what each is owed, how new settings apply.

A destination's queue outlives its settings: after `exchange` other workers, with other settings, take from it. The
earlier workers begin no further delivery; one that is under way ends, and its result goes to the same queue. So no
alert moves between queues, none is tried by both, and the alerts of one episode stay in order.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sockbpf.delivery.worker import NOT_CONFIGURED
from sockbpf.record.alert import HEARTBEAT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sockbpf.counters import Counters
    from sockbpf.delivery.owed import Owed
    from sockbpf.delivery.queue import Queue
    from sockbpf.delivery.worker import Workers

log = logging.getLogger(__name__)

IDS_LOGGED = 20
"""One line of the log names at most so many of the alerts that are given up at once."""


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A destination: its name, which alerts it wants, the queue of those it is owed, the workers that deliver."""

    name: str
    wants: Callable[[Mapping[str, str]], bool]
    queue: Queue
    workers: Workers
    take_over: Callable[[], list[Owed]]
    """Has the queue give its alerts to these workers from now on; returns the alerts that are given up for that."""


class Routes:
    """The routes of the settings that apply; safe from several threads."""

    def __init__(self, counters: Counters, settled: Callable[[Owed], None]) -> None:
        """`settled` is called, from any thread, with each alert that was given up."""
        self._counters = counters
        self._settled = settled
        self._changing = threading.Lock()
        """Held while alerts are offered and while routes are exchanged: no alert goes to a queue that has ended."""
        self._now: tuple[Route, ...] = ()
        self._left: tuple[Route, ...] = ()
        """Routes of earlier settings, while one of their deliveries is under way."""

    def exchange(self, routes: Iterable[Route]) -> None:
        """Deliver by these routes from now on; their workers must have been started.

        Alerts owed to a destination that is not among them are given up, except those under way.
        """
        routes = tuple(routes)
        given_up = []
        with self._changing:
            queues = {id(route.queue) for route in routes}
            gone = [route for route in self._now if route not in routes]
            self._left = (*(route for route in self._left if route.workers.alive()), *gone)
            given_up += [
                (route.queue.end(), NOT_CONFIGURED) for route in gone if id(route.queue) not in queues
            ]
            for route in routes:
                if route not in self._now:
                    given_up.append((route.take_over(), f"more than {route.queue.capacity} are owed"))
                    route.workers.begin()
            self._now = routes
        for alerts, reason in given_up:
            self.give_up(alerts, reason)

    def wanted(self, fields: Mapping[str, str]) -> list[str]:
        """Return the names of the destinations that are to get this alert."""
        wanted = [route for route in self._now if route.wants(fields)]
        if (
            fields["event"] == HEARTBEAT
        ):  # of two that wait one says nothing, and no alert is given up for one
            wanted = [route for route in wanted if route.queue.has_room_for_first(HEARTBEAT)]
        return [route.name for route in wanted]

    def offer(self, alerts: list[Owed], *, earlier: bool = False) -> None:
        """Queue these alerts, each for the destination that it names; `earlier` ones an earlier monitor owed."""
        by_name: dict[str, list[Owed]] = {}
        for owed in alerts:
            by_name.setdefault(owed.destination, []).append(owed)
        given_up = []
        with self._changing:
            for route in self._now:
                offered = by_name.pop(route.name, None)
                if offered:
                    given_up.append(
                        (
                            route.queue.offer(offered, earlier=earlier),
                            f"more than {route.queue.capacity} are owed",
                        )
                    )
        given_up += [(unconfigured, NOT_CONFIGURED) for unconfigured in by_name.values()]
        for some, reason in given_up:
            self.give_up(some, reason)

    def take_ended(self) -> list[list[Owed]]:
        """Forget the alerts for which a summary is to stand: see `Queue.take_ended`."""
        return [alerts for route in self._now for alerts in route.queue.take_ended()]

    def expire(self, before_s: float, reason: str) -> None:
        """Give up the alerts that were made before this, CLOCK_BOOTTIME."""
        for route in self._now:
            self.give_up(route.queue.expire(before_s), reason)

    def give_up(self, alerts: list[Owed], reason: str) -> None:
        """Count alerts that will not be delivered, and name them in the log."""
        if not alerts:
            return
        for destination, number in Counter(owed.destination for owed in alerts).items():
            self._counters.add("given_up", number, destination)
        for at in range(0, len(alerts), IDS_LOGGED):
            some = alerts[at : at + IDS_LOGGED]
            log.warning("given up, %s: %s", reason, ", ".join(f"{owed.destination} {owed}" for owed in some))
        for owed in alerts:
            self._settled(owed)

    def owed(self) -> list[Owed]:
        """Return all owed alerts, those under way included, by n."""
        return sorted((owed for queue in self._queues() for owed in queue.owed()), key=lambda owed: owed.n)

    def depth(self) -> int:
        """Return how many alerts are owed."""
        return sum(queue.depth() for queue in self._queues())

    def oldest_s(self) -> float | None:
        """Return when the oldest owed alert was made, CLOCK_BOOTTIME."""
        return min((at for queue in self._queues() if (at := queue.oldest_s()) is not None), default=None)

    def left_under_way(self) -> int:
        """Return how many workers of earlier settings have not ended."""
        with self._changing:
            return sum(route.workers.alive() for route in self._left)

    def close(self, deadline_s: float) -> None:
        """Try each owed alert once more; return when all tries have ended, or at the deadline, monotonic seconds."""
        with self._changing:
            routes = (*self._now, *self._left)
        for route in routes:
            route.queue.close(deadline_s)
        for route in routes:
            route.workers.join(deadline_s)

    def _queues(self) -> list[Queue]:
        with self._changing:
            return list({id(route.queue): route.queue for route in (*self._now, *self._left)}.values())
