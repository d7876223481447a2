# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What it costs to send alerts: to a store, each by a GET of its own and many by one request; by OTLP; by Kafka.

The delivery of one monitor, with its journal on a disk, four workers and connections that are kept.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import count, islice
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.databases import tree_cpu_s
from bench.figure import Figure
from bench.store import alert
from sockbpf.counters import Counters
from sockbpf.delivery.breaker import Breaker, Bucket
from sockbpf.delivery.outbox import NewAlert, Outbox
from sockbpf.delivery.queue import Queue
from sockbpf.delivery.routes import Route
from sockbpf.delivery.worker import Workers
from sockbpf.monitor.rehearsal import maker_of
from sockbpf.settings.destinations import (
    AnyDestination,
    BatchStoreSettings,
    HttpSettings,
    KafkaSettings,
    OtlpSettings,
)
from tests.live.collectors import broker, collector
from tests.live.waiting import until
from tests.store.serving import start_store

ALERTS, QUICK_ALERTS = 10_000, 200
GETS = 0.2
"""So many of these are sent by GET, which takes long."""
RUNS = 3
WORKERS = 4
DONE_S = 300.0
RATE_GOAL = 3
RECEIVERS = {"batches": "a store on SQLite", "OTLP": "Rotel, which hands on to Tansu", "Kafka": "Tansu"}


@dataclass(frozen=True)
class Sent:
    """What it took to deliver one alert: seconds, and CPU seconds of the sender and of the receiver."""

    took_s: float
    sender_s: float
    receiver_s: float


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


def send(settings: AnyDestination, alerts: list[Mapping[str, str]], receiver: int) -> Sent:
    """Deliver alerts that the receiver, a process, does not know."""
    counters = Counters()
    made = [NewAlert(fields["id"], 0, lambda _, fields=fields: fields) for fields in alerts]  # type: ignore[misc]
    with TemporaryDirectory(dir="/var/tmp") as folder, outbox_to(settings, Path(folder), counters) as outbox:
        before_s, sender_s, receiver_s = time.monotonic(), time.process_time(), tree_cpu_s(receiver)
        outbox.put(made)
        until(lambda: counters.snapshot()["delivered"] == len(alerts), "all are delivered", DONE_S)
        took = (
            time.monotonic() - before_s,
            time.process_time() - sender_s,
            tree_cpu_s(receiver) - receiver_s,
        )
    return Sent(*(seconds / len(alerts) for seconds in took))


@contextmanager
def receivers() -> Iterator[dict[str, tuple[AnyDestination, int]]]:
    """Run what takes alerts; yield by name the destination and its receiver's process."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir="/var/tmp")))
        store = start_store(folder / "store", f"sqlite:///{folder}/alerts.sqlite")
        stack.callback(store.stop)
        kafka = broker(folder, stack)
        kafka.start()
        otlp = collector(folder, stack, kafka)
        otlp.start()
        yield {
            "batches": (BatchStoreSettings(url=store.url), store.process.pid),
            "GET": (HttpSettings(url=f"{store.url}/alert"), store.process.pid),
            "OTLP": (OtlpSettings(url=otlp.url), otlp.processes[-1].pid),
            "Kafka": (
                KafkaSettings.model_validate({"brokers": [kafka.address], "topic": "alerts"}),
                kafka.processes[-1].pid,
            ),
        }


def measure(*, quick: bool) -> list[Figure]:
    """Return the figures of each way, in turns; quick ones are not to be believed."""
    each, runs = (QUICK_ALERTS, 1) if quick else (ALERTS, RUNS)
    with receivers() as ways:
        total = len(ways) * runs * each
        alerts = iter(alert(number, total) for number in count())
        sent: dict[str, list[Sent]] = {name: [] for name in ways}
        for _ in range(runs):
            for name, (settings, pid) in ways.items():
                number = round(each * GETS) if name == "GET" else each
                sent[name].append(send(settings, list(islice(alerts, number)), pid))
    gets = sent.pop("GET")
    slowest, fastest = min(1 / of.took_s for of in sent["batches"]), max(1 / of.took_s for of in gets)
    figures: list[Figure] = []
    for name, some in sent.items():
        figures += _figures(name, some, gets)
    compared = replace(
        figures[0],
        goal=f"at least {RATE_GOAL} times as many",
        met=slowest >= RATE_GOAL * fastest,
        note=f"{each} alerts a run, journal on",
    )
    return [compared, *figures[1:]]


def _figures(name: str, some: Sequence[Sent], gets: Sequence[Sent]) -> Iterator[Figure]:
    what = f"one monitor's alerts by {name}"
    rate, of_gets = (tuple(1 / of.took_s for of in each) for each in (some, gets))
    yield Figure(f"{what}, {RECEIVERS[name]}", "per second", rate, rival="by GET", rival_values=of_gets)
    for whose, cpu in (("the monitor's delivery", "sender_s"), ("the receiver", "receiver_s")):
        ours, rivals = (tuple(getattr(of, cpu) * 1e6 for of in each) for each in (some, gets))
        yield Figure(f"{what}: CPU of {whose} for each", "us", ours, rival="by GET", rival_values=rivals)
