# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The name, the labels and the meaning of each metric; docs/prometheus.md has them as a table.

Labels are names of destinations, never their addresses: those can be secret; what is to be seen, by the table of
hooks; and services, by judge/services.py, which bounds them.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

from sockbpf.counters import NAMES
from sockbpf.record.event import OF_BYTES, Direction, Mode, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from prometheus_client import Metric

    from sockbpf.judge.services import Key, Sums
    from sockbpf.monitor.standing import Gauges, Watching

BY_DESTINATION = ("destination",)
BY_SERVICE = ("protocol", "direction", "service")
BY_LISTENER = ("service",)

OF_DESTINATIONS = {
    "delivered": "alerts that the destination took",
    "retried": "deliveries to it that failed and were put back for another try",
    "given_up": "alerts not delivered to it: too old, too many, or refused for good",
}

OF_QUEUES = {
    "queue_bytes": ("bytes in the queues of the service", "size"),
    "queue_sockets": ("its sockets whose queue is not empty", "sockets"),
    "queue_fill_ratio": ("how full its fullest queue is by the kernel's own count; 1 is full", "fill"),
}
"""Name -> meaning and what of `Sums` it is; of queues of bytes alone."""

OF_EPISODES = {
    "queue_stalled": (
        "its queues that hold something which nothing leaves, for as long as `stalled`",
        "stalled",
    ),
    "queue_open_episodes": (
        "its queues that are over now, stalled ones and those held back included",
        "open",
    ),
}
"""The same of all queues."""

OF_LISTENERS = {
    "accept_queue_connections": ("connections that wait for the service to accept them", "size"),
    "accept_queue_backlog": ("connections that may wait at its listeners", "limit"),
    "accept_queue_fill_ratio": (
        "how full its fullest accept queue is; above 1 connections are dropped",
        "fill",
    ),
}

DATAGRAMS = "datagrams that its UDP sockets dropped since a look saw them first"
CONNECTIONS = "what its listeners dropped: connections, and now and then a stray segment"


def of_counters(
    counts: Mapping[str, int], by_destination: Mapping[str, Mapping[str, int]], known: Iterable[str]
) -> Iterator[Metric]:
    """Yield every counter; and those of destinations, also of those that are known and have counted nothing."""
    for name, text in NAMES.items():
        yield CounterMetricFamily(f"sockbpf_{name}", text, value=counts[name])
    for name, text in OF_DESTINATIONS.items():
        family = CounterMetricFamily(f"sockbpf_destination_{name}", text, labels=BY_DESTINATION)
        for destination in {**by_destination, **dict.fromkeys(known)}:
            family.add_metric([destination], by_destination.get(destination, {}).get(name, 0))
        yield family


def of_gauges(now: Gauges) -> Iterator[Metric]:
    """Yield how delivery stands."""
    yield from _gauges(
        ("open_episodes", "queues that are over now, those held back included", now.open_episodes),
        ("journal_depth", "alerts owed, over all destinations", now.journal_depth),
        (
            "oldest_undelivered_seconds",
            "how long ago the oldest alert that is still owed was made, 0 if none is",
            now.oldest_undelivered_seconds,
        ),
    )
    for name, text, values in (
        ("owed", "alerts that the destination is owed", now.owed),
        (
            "breaker_open",
            "1 while the destination is taken for dead: one request at a time, after pauses",
            now.breaker_open,
        ),
    ):
        family = GaugeMetricFamily(f"sockbpf_{name}", text, labels=BY_DESTINATION)
        for destination, value in values.items():
            family.add_metric([destination], value)
        yield family


def of_watching(now: Watching | None) -> Iterator[Metric]:
    """Yield what the monitor watches by; None: the names alone."""
    build = {"version": now.version, "kernel": now.kernel} if now else None
    yield InfoMetricFamily("sockbpf_build", "the version of sockbpf, and the kernel it runs on", build)
    modes = GaugeMetricFamily(
        "sockbpf_mode", "1 for the way it watches: ebpf by hooks, poll by looks alone", labels=["mode"]
    )
    missing = GaugeMetricFamily(
        "sockbpf_hooks_missing", "1 for what no hook sees, so that looks alone find it", labels=["unseen"]
    )
    looked = GaugeMetricFamily(
        "sockbpf_last_look_timestamp_seconds", "when the last look at all sockets ended, Unix time"
    )
    if now:
        for mode in Mode:
            modes.add_metric([mode.value], mode.value == now.mode)
        for thing, is_missing in now.missing.items():
            missing.add_metric([thing], is_missing)
        if now.looked_ago_s is not None:
            looked.add_metric([], time.time() - now.looked_ago_s)
    yield from (modes, missing, looked)
    yield from _gauges(
        (
            "blind",
            "1 while what is over may not be known: a thread hangs, or no look has ended for long",
            now.is_blind if now else 0,
        ),
        ("silences", "silences that are in force", now.silences if now else 0),
    )


def of_queues(seen: tuple[Mapping[Key, Sums], int] | None) -> Iterator[Metric]:
    """Yield the sums of the queues; None: the names alone, where no look has worked lately."""
    sums, unnamed = seen or ({}, None)
    of_bytes = {key: its for key, its in sums.items() if key[1] in OF_BYTES}
    of_listeners = {key: its for key, its in sums.items() if key[1] is Direction.ACCEPT}
    for table, shown in ((OF_QUEUES, of_bytes), (OF_EPISODES, sums)):
        for name, (text, attribute) in table.items():
            gauge = GaugeMetricFamily(f"sockbpf_{name}", text, labels=BY_SERVICE)
            for key, its in shown.items():
                gauge.add_metric(_labels(key), getattr(its, attribute))
            yield gauge
    dropped = CounterMetricFamily("sockbpf_queue_drops", DATAGRAMS, labels=BY_SERVICE)
    for key, its in of_bytes.items():
        if key[:2] == (Protocol.UDP, Direction.RECV):
            dropped.add_metric(_labels(key), its.drops)
    yield dropped
    for name, (text, attribute) in OF_LISTENERS.items():
        gauge = GaugeMetricFamily(f"sockbpf_{name}", text, labels=BY_LISTENER)
        for (_, _, service), its in of_listeners.items():
            gauge.add_metric([service], getattr(its, attribute))
        yield gauge
    refused = CounterMetricFamily("sockbpf_accept_queue_drops", CONNECTIONS, labels=BY_LISTENER)
    for (_, _, service), its in of_listeners.items():
        refused.add_metric([service], its.drops)
    yield refused
    text = "services with something in their queues that have no name here and are summed up as `other`"
    beyond = GaugeMetricFamily("sockbpf_services_unnamed", text)
    if unnamed is not None:
        beyond.add_metric([], unnamed)
    yield beyond


def _labels(key: Key) -> tuple[str, str, str]:
    protocol, direction, service = key
    return protocol.name.lower(), direction.name, service


def _gauges(*told: tuple[str, str, float]) -> Iterator[Metric]:
    for name, text, value in told:
        yield GaugeMetricFamily(f"sockbpf_{name}", text, value=value)
