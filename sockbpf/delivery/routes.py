# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The destinations as the outbox sees them: whom an alert is for, what each is owed, and how others take their place.

A destination's queue outlives its settings: by `exchange` other workers, with other settings, take from it. Those
before begin nothing from then on; what they have begun ends as it ends, and settles in the same queue. So no alert
is handed around, none is tried by both, and those of one episode stay in order.
"""

from __future__ import annotations

import logging
import threading
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
"""Of what is given up at once, as many are named in one line of the log."""


@dataclass(frozen=True, slots=True, eq=False)
class Route:
    """A destination: its name, whether it is to be told something, what it is owed, who delivers."""

    name: str
    wants: Callable[[Mapping[str, str]], bool]
    queue: Queue
    workers: Workers
    take_over: Callable[[], list[Owed]]
    """Has the queue give to these workers from now on; returns what is given up for that."""


class Routes:
    """Those of now, by whatever thread they are asked for or exchanged."""

    def __init__(self, counters: Counters, settled: Callable[[Owed], None]) -> None:
        """`settled` is told, from any thread, what is not owed any more because it was given up."""
        self._counters = counters
        self._settled = settled
        self._changing = threading.Lock()
        """Held while alerts are offered and while routes are exchanged: no alert is offered to one that has ended."""
        self._now: tuple[Route, ...] = ()
        self._left: tuple[Route, ...] = ()
        """Those before, while something of them is under way."""

    def exchange(self, routes: Iterable[Route]) -> None:
        """Deliver by these from now on; their workers must have been started.

        What is owed to a name that is not among them is given up, but for what is under way.
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
        """Return the names of those who are to be told this."""
        wanted = [route for route in self._now if route.wants(fields)]
        if fields["event"] == HEARTBEAT:  # one that is late is of no use, a second one neither
            wanted = [route for route in wanted if not route.queue.depth()]
        return [route.name for route in wanted]

    def offer(self, alerts: list[Owed]) -> None:
        """Owe these, each to the destination of its name."""
        by_name: dict[str, list[Owed]] = {}
        for owed in alerts:
            by_name.setdefault(owed.destination, []).append(owed)
        given_up = []
        with self._changing:
            for route in self._now:
                mine = by_name.pop(route.name, None)
                if mine:
                    given_up.append((route.queue.offer(mine), f"more than {route.queue.capacity} are owed"))
        given_up += [(nobodys, NOT_CONFIGURED) for nobodys in by_name.values()]
        for some, reason in given_up:
            self.give_up(some, reason)

    def expire(self, before_s: float, reason: str) -> None:
        """Give up what was made before this, CLOCK_BOOTTIME."""
        for route in self._now:
            self.give_up(route.queue.expire(before_s), reason)

    def give_up(self, alerts: list[Owed], reason: str) -> None:
        """Count and name what will not be delivered."""
        if not alerts:
            return
        self._counters.add("given_up", len(alerts))
        for at in range(0, len(alerts), IDS_LOGGED):
            some = alerts[at : at + IDS_LOGGED]
            log.warning("given up, %s: %s", reason, ", ".join(f"{owed.destination} {owed}" for owed in some))
        for owed in alerts:
            self._settled(owed)

    def owed(self) -> list[Owed]:
        """Return all that is owed, what is under way included, by n."""
        return sorted((owed for queue in self._queues() for owed in queue.owed()), key=lambda owed: owed.n)

    def depth(self) -> int:
        """Return how many alerts are owed."""
        return sum(queue.depth() for queue in self._queues())

    def oldest_s(self) -> float | None:
        """Return when the oldest that is owed was made, CLOCK_BOOTTIME."""
        return min((at for queue in self._queues() if (at := queue.oldest_s()) is not None), default=None)

    def left_under_way(self) -> int:
        """Return how many workers of routes that were exchanged have not ended."""
        with self._changing:
            return sum(route.workers.alive() for route in self._left)

    def close(self, deadline_s: float) -> None:
        """Try what waits once more; return when that has ended, or at the deadline, monotonic seconds."""
        with self._changing:
            routes = (*self._now, *self._left)
        for route in routes:
            route.queue.close(deadline_s)
        for route in routes:
            route.workers.join(deadline_s)

    def _queues(self) -> list[Queue]:
        with self._changing:
            return list({id(route.queue): route.queue for route in (*self._now, *self._left)}.values())
