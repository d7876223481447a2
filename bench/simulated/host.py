# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""One host: what its monitor tells goes through the monitor's own queue and breaker, and by real connections."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from bench.simulated.clock import Clock
from bench.simulated.protocols import Protocol
from bench.simulated.tally import Identity, Tally, identity
from bench.simulated.wire import Link, connect
from bench.told import Fields
from sockbpf.delivery.breaker import Breaker, Bucket
from sockbpf.delivery.owed import Owed, body_of
from sockbpf.delivery.queue import Queue
from sockbpf.delivery.transport import TransportError
from sockbpf.record.alert import HEARTBEAT
from sockbpf.settings.config import Delivery

USUAL = Delivery()


@dataclass(frozen=True, slots=True)
class Telling:
    """Something that a monitor tells, at this time."""

    at_s: float
    make: Callable[[int], Fields]
    """Makes its fields of its `seq`."""
    is_beat: bool = False


@dataclass(frozen=True)
class Fleet:
    """What all hosts have in common."""

    url: str
    protocol: Protocol
    clock: Clock
    tally: Tally


class Host:
    """As many requests at once as a monitor has workers; each keeps its connection."""

    def __init__(self, number: int, fleet: Fleet, away: tuple[float, float] | None) -> None:
        """`away` says between which times nothing reaches the receiver."""
        self.name = name_of(number)
        self._address = f"127.{16 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"
        self._fleet = fleet
        self._away = away or (0.0, 0.0)
        self._queue = Queue(
            capacity=USUAL.queue,
            breaker=Breaker(USUAL.retry_first, USUAL.retry_max),
            bucket=Bucket(0, 1),
            clock=fleet.clock.now_s,
        )
        self._seq = self._n = 0
        self._timer: asyncio.TimerHandle | None = None
        self._goes_s: float | None = None
        """When a batch that waits for more is sent."""
        self._closed = False
        self._tries: set[asyncio.Task[None]] = set()
        self._idle: list[Link] = []

    async def tell(self, tellings: Iterable[Telling]) -> None:
        """Tell what there is, each thing at its time."""
        for telling in tellings:
            await self._fleet.clock.until(telling.at_s)
            self._offer(telling)

    @property
    def owes(self) -> bool:
        return self._queue.depth() > 0

    def owed(self) -> Iterator[Identity]:
        """Yield the alerts that are owed."""
        for owed in self._queue.owed():
            if owed.episode != HEARTBEAT:
                yield identity(owed.fields)

    def close(self) -> None:
        """Begin no further try."""
        self._closed = True
        if self._timer:
            self._timer.cancel()
        for link in self._idle:
            link.close()

    def _offer(self, telling: Telling) -> None:
        tally = self._fleet.tally
        tally.late_s.append(self._fleet.clock.now_s() - telling.at_s)
        if telling.is_beat and self.owes:  # as a monitor does
            tally.unsent_beats += 1
            return
        self._seq += not telling.is_beat
        self._n += 1
        fields = telling.make(self._seq)
        episode = HEARTBEAT if telling.is_beat else fields["id"]
        if not telling.is_beat:
            tally.told.add(identity(fields))
        owed = Owed(self._n, self._fleet.protocol.name, episode, telling.at_s, body_of(fields))
        tally.given_up += len(self._queue.offer([owed]))
        tally.most_owed = max(tally.most_owed, self._queue.depth())
        self._send_due()

    def _send_due(self) -> None:
        """Begin the tries that may begin now; have the next that may later do so."""
        if self._timer:
            self._timer.cancel()
        clock, protocol = self._fleet.clock, self._fleet.protocol
        while (
            not self._closed
            and len(self._tries) < USUAL.workers
            and (due_s := self._queue.due_s()) is not None
        ):
            if due_s > (now_s := clock.now_s()):
                self._timer = clock.call_at(due_s, self._send_due)
                return
            if self._goes_s is None:
                self._goes_s = now_s + protocol.wait_s
            if now_s < self._goes_s and self._queue.depth() < protocol.most:
                self._timer = clock.call_at(self._goes_s, self._send_due)
                return
            self._goes_s = None
            trying = asyncio.create_task(self._try(self._queue.take_all(protocol.most, 0.0)))
            self._tries.add(trying)
            trying.add_done_callback(self._tried)

    def _tried(self, trying: asyncio.Task[None]) -> None:
        self._tries.discard(trying)
        trying.result()  # a defect of the simulation ends it
        self._send_due()

    async def _try(self, alerts: list[Owed]) -> None:
        tally = self._fleet.tally
        try:
            tally.refused += await self._send(alerts)
        except TransportError as error:
            if error.permanent:
                tally.refused += len(alerts)
                self._queue.worked(*alerts)
                return
            tally.retried += len(alerts)
            self._queue.failed_all(alerts, error.retry_after_s or 0.0, absent=error.absent)
            return
        self._queue.worked(*alerts)
        tally.count_answered(self.name, alerts, self._fleet.clock.now_s())

    async def _send(self, alerts: list[Owed]) -> int:
        """Return how many the receiver refuses for good. Raise TransportError."""
        fleet, tally = self._fleet, self._fleet.tally
        if self._away[0] <= fleet.clock.now_s() < self._away[1]:
            while self._idle:
                self._idle.pop().close()
            await fleet.clock.until(fleet.clock.now_s() + USUAL.timeout)
            raise TransportError("no answer in time")
        link = None
        try:
            link = await self._link()
            answer = await asyncio.wait_for(
                link.exchange(fleet.protocol.request(fleet.url, alerts)), USUAL.timeout
            )
        except (OSError, asyncio.TimeoutError) as error:
            if link:
                link.close()
            absent = isinstance(error, ConnectionRefusedError)
            raise TransportError(f"no answer: {type(error).__name__}", absent=absent) from None
        finally:
            tally.requests += 1
            if link:
                tally.sent += link.sent
                tally.received += link.received
        if link.is_open:
            self._idle.append(link)
        return fleet.protocol.refused(answer, len(alerts))

    async def _link(self) -> Link:
        while self._idle:
            link = self._idle.pop()
            if link.is_open:
                return link
        self._fleet.tally.connections += 1
        return await asyncio.wait_for(connect(self._fleet.url, self._address), USUAL.timeout)


def name_of(number: int) -> str:
    return f"host{number:06}.example.com"
