# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""An outbox at work, with destinations that do as a script says."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from sockbpf.counters import Counters
from sockbpf.delivery.breaker import Breaker, Bucket
from sockbpf.delivery.journal_lines import read
from sockbpf.delivery.outbox import NewAlert, Outbox
from sockbpf.delivery.queue import Queue
from sockbpf.delivery.routes import Route
from sockbpf.delivery.transport import BatchDestination, Destination, TransportError
from sockbpf.delivery.worker import Workers

Fields = Mapping[str, str]


def alert(episode: str, seq: int, event: str = "exceeded") -> Fields:
    return {"timestamp": "1.5", "id": episode, "seq": str(seq), "event": event, "type": "RECV"}


def new(fields: Fields) -> NewAlert:
    """Return an alert that has its `seq` already."""
    return NewAlert(fields["id"], 0, lambda _: fields)


def until(condition: Callable[[], bool], deadline_s: float = 60) -> None:
    end = time.monotonic() + deadline_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.002)


def refuse(_: Fields) -> None:
    raise TransportError("answered 500")


@dataclass
class Scripted:
    """A destination that does as `answer` says with each alert, and remembers what it took."""

    answer: Callable[[Fields], None] = lambda _: None
    took: list[Fields] = field(default_factory=list)
    closed: int = 0

    def send(self, fields: Fields) -> None:
        self.answer(fields)
        self.took.append(fields)

    def close(self) -> None:
        self.closed += 1

    def seqs(self) -> list[int]:
        return [int(each["seq"]) for each in self.took]


@dataclass
class ScriptedBatches:
    """A destination of batches that does as `answer` says with each, and remembers those that it took."""

    most: int
    wait_s: float = 0.0
    answer: Callable[[Sequence[Fields]], Mapping[int, str]] = lambda _: {}
    took: list[list[Fields]] = field(default_factory=list)
    closed: int = 0

    def send_all(self, alerts: Sequence[Fields]) -> Mapping[int, str]:
        refused = self.answer(alerts)
        self.took.append([fields for place, fields in enumerate(alerts) if place not in refused])
        return refused

    def close(self) -> None:
        self.closed += 1

    def seqs(self) -> list[int]:
        return [int(each["seq"]) for batch in self.took for each in batch]


@dataclass
class Office:
    """An outbox at work."""

    outbox: Outbox
    counters: Counters
    lines: list[Fields]
    workers: list[Workers]

    def put(self, *alerts: Fields) -> None:
        self.outbox.put(map(new, alerts))

    def stop(self, seconds: float = 20) -> int:
        return self.outbox.close(time.monotonic() + seconds)

    def counted(self, *names: str) -> tuple[int, ...]:
        counts = self.counters.snapshot()
        return tuple(counts[name] for name in names)


def office(
    path: Path | None,
    destinations: Mapping[str, Destination | BatchDestination],
    *,
    capacity: int = 10_000,
    workers: int = 3,
    first_s: float = 0.001,
    max_s: float = 0.004,
    wants: Callable[[Fields], bool] = lambda _: True,
    max_age_s: float = 3600,
    rate: float = 0,
    burst: int = 1,
) -> Office:
    counters = Counters()
    lines: list[Fields] = []
    outbox = Outbox(
        path=path,
        capacity=capacity,
        max_age_s=max_age_s,
        counters=counters,
        line=lambda fields: lines.append(fields),  # noqa: PLW0108, its parameter has the name
    )
    routes = []
    for name, destination in destinations.items():
        terms = {"capacity": capacity, "breaker": Breaker(first_s, max_s), "bucket": Bucket(rate, burst)}
        queue = Queue(**terms)  # type: ignore[arg-type]
        made = Workers(
            name,
            queue,
            lambda destination=destination: destination,  # type: ignore[misc]
            number=workers,
            counters=counters,
            delivered=lambda owed, _: outbox.settled(owed),
            refused=outbox.refused,
            settled=outbox.settled,
        )
        made.start()
        routes.append(Route(name, wants, queue, made, partial(queue.hand_over, made, **terms)))  # type: ignore[arg-type]
    outbox.start(routes)
    return Office(outbox, counters, lines, [route.workers for route in routes])


def rows(path: Path) -> list[int]:
    """Return the seqs that the journal owes, read from beside."""
    return [int(owed.fields["seq"]) for owed in read(path.read_bytes()).owed.values()]
