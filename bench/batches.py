# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What it costs to send alerts to a store, each by a GET of its own and many by one request.

The delivery of one monitor, with its journal on a disk, four workers and connections that are kept; the same store.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.figure import Figure
from bench.resident import cpu_s
from bench.store import alert
from sockbpf.counters import Counters
from sockbpf.delivery.breaker import Breaker, Bucket
from sockbpf.delivery.outbox import NewAlert, Outbox
from sockbpf.delivery.queue import Queue
from sockbpf.delivery.routes import Route
from sockbpf.delivery.worker import Workers
from sockbpf.monitor.rehearsal import maker_of
from sockbpf.settings.destinations import AnyDestination, BatchStoreSettings, HttpSettings
from tests.live.waiting import until
from tests.store.serving import Store, start_store

ALERTS, QUICK_ALERTS = 20_000, 200
RUNS = 3
WORKERS = 4
DONE_S = 300.0
RATE_GOAL = 3


@dataclass(frozen=True)
class Sent:
    """What it took to deliver one alert: seconds, and CPU seconds of the sender and of the store."""

    took_s: float
    sender_s: float
    store_s: float


def _unlogged(fields: Mapping[str, str]) -> None:
    """Take what a monitor would log."""


@contextmanager
def outbox_to(settings: AnyDestination, folder: Path, counters: Counters) -> Iterator[Outbox]:
    """Run the delivery of a monitor that has this destination alone."""
    outbox = Outbox(
        path=folder / "journal", capacity=ALERTS, max_age_s=3600, counters=counters, line=_unlogged
    )
    breaker, bucket = Breaker(0.5, 30), Bucket(0, 1)
    queue = Queue(capacity=ALERTS, breaker=breaker, bucket=bucket)
    workers = Workers(
        settings.name,
        queue,
        maker_of(settings),
        number=WORKERS,
        counters=counters,
        delivered=lambda owed, _: outbox.settled(owed),
        refused=outbox.refused,
        settled=outbox.settled,
    )
    workers.start()
    take_over = partial(queue.hand_over, workers, capacity=ALERTS, breaker=breaker, bucket=bucket)
    outbox.start([Route(settings.name, lambda _: True, queue, workers, take_over)])
    try:
        yield outbox
    finally:
        outbox.close(time.monotonic() + DONE_S)


def send(settings: AnyDestination, alerts: list[Mapping[str, str]], store: Store) -> Sent:
    """Deliver alerts that the store does not know."""
    counters = Counters()
    made = [NewAlert(fields["id"], 0, lambda _, fields=fields: fields) for fields in alerts]  # type: ignore[misc]
    with TemporaryDirectory(dir="/var/tmp") as folder, outbox_to(settings, Path(folder), counters) as outbox:
        before_s, sender_s, store_s = time.monotonic(), time.process_time(), cpu_s(store.process.pid)
        outbox.put(made)
        until(lambda: counters.snapshot()["delivered"] == len(alerts), "all are delivered", DONE_S)
        took = (
            time.monotonic() - before_s,
            time.process_time() - sender_s,
            cpu_s(store.process.pid) - store_s,
        )
    return Sent(*(seconds / len(alerts) for seconds in took))


def measure(*, quick: bool) -> list[Figure]:
    """Return the figures of GET and of batches, in turns; quick ones are not to be believed."""
    each, runs = (QUICK_ALERTS, 1) if quick else (ALERTS, RUNS)
    total = 2 * runs * each
    alerts = iter(alert(number, total) for number in count())
    singly: list[Sent] = []
    batched: list[Sent] = []
    with TemporaryDirectory(dir="/var/tmp") as folder:
        store = start_store(Path(folder) / "store", f"sqlite:///{folder}/alerts.sqlite")
        try:
            for _ in range(runs):
                get = HttpSettings(url=f"{store.url}/alert")
                singly.append(send(get, list(islice(alerts, each)), store))
                post = BatchStoreSettings(url=store.url)
                batched.append(send(post, list(islice(alerts, each)), store))
        finally:
            store.stop()
    rates = [tuple(1 / sent.took_s for sent in some) for some in (batched, singly)]
    figures = [
        Figure(
            "alerts of one monitor to a store, by batches",
            "per second",
            rates[0],
            goal=f"at least {RATE_GOAL} times as many",
            met=min(rates[0]) >= RATE_GOAL * max(rates[1]),
            rival="by GET",
            rival_values=rates[1],
            note=f"{each} alerts a run, SQLite, journal on",
        )
    ]
    for whose, cpu in (("of the monitor's delivery", "sender_s"), ("of the store", "store_s")):
        ours, rivals = (tuple(getattr(sent, cpu) * 1e6 for sent in some) for some in (batched, singly))
        figures.append(
            Figure(f"CPU {whose} for an alert, by batches", "us", ours, rival="by GET", rival_values=rivals)
        )
    return figures
