# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What docs/prometheus.md says of each metric, from the code: `python -m tests.unit.metric_docs` writes it."""

from __future__ import annotations

import re
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from prometheus_client import Metric

from sockbpf.counters import NAMES, Counters
from sockbpf.judge.services import MOST, Key, Sums
from sockbpf.monitor.metrics import Metrics
from sockbpf.monitor.standing import Gauges, Watching
from sockbpf.record.event import OF_BYTES, Direction, Protocol

DOCUMENT = Path(__file__).parents[2] / "docs" / "prometheus.md"
TABLES = re.compile(r"### Queues by service\n(?:.*\n)+?(?=## )")
SERIES = re.compile(r"A host has at most \d+ series and \d+ more for each destination")

LABELS = {"destination", "direction", "kernel", "le", "mode", "protocol", "service", "unseen", "version"}

GROUPS = {
    "Queues by service": r"sockbpf_(accept_)?queue_|sockbpf_services",
    "The monitor": r"sockbpf_(build|mode|hooks|last_look|blind|silences|open_episodes)|process_",
    "Delivery": r"sockbpf_(destination_|owed|breaker|journal_depth|oldest|crossing)",
    "Counters": r"sockbpf_",
}
"""Heading -> what the names begin with; the first that fits."""


class Looks:
    """A look that has seen as many services as have a name, and others, each with queues of every kind."""

    def begin(self) -> Future[None]:
        done: Future[None] = Future()
        done.set_result(None)
        return done

    def latest(self) -> tuple[dict[Key, Sums], int]:
        names = [f"s{number}" for number in range(MOST)] + ["other"]
        kinds = [(protocol, direction) for protocol in Protocol for direction in OF_BYTES]
        kinds.append((Protocol.TCP, Direction.ACCEPT))
        return {(*kind, name): Sums(1) for name in names for kind in kinds}, 17


def families(destinations: int = 1) -> list[Metric]:
    """Return all that a host can have, with so many destinations."""
    names = [f"d{number}" for number in range(destinations)]
    counters = Counters()
    for name in names:
        counters.add("retried", destination=name)
    gauges = Gauges(0, 0, 0.0, dict.fromkeys(names, 0), dict.fromkeys(names, False))
    metrics = Metrics(counters, lambda: gauges, names)
    missing = {f"thing {number}": False for number in range(11)}
    watching = Watching("1", "6", "ebpf", missing, 5.0, is_blind=False, silences=0)
    looks: Any = Looks()
    metrics.show(lambda: watching, looks)
    return list(metrics._registry.collect())


def series(destinations: int) -> int:
    """Return how many series Prometheus has of these."""
    return sum(len(family.samples) for family in families(destinations))


def name_of(family: Metric) -> str:
    return family.name + {"counter": "_total", "info": "_info"}.get(family.type, "")


def tables() -> str:
    """Return the tables of all metrics, each under its heading."""
    rows: dict[str, list[str]] = {heading: [] for heading in GROUPS}
    for family in families():
        labels = sorted({label for sample in family.samples for label in sample.labels} & LABELS)
        heading = next(each for each, begins in GROUPS.items() if re.match(begins, family.name))
        shown = ", ".join(f"`{label}`" for label in labels)
        meaning = family.documentation.rstrip(".")
        rows[heading].append(f"| `{name_of(family)}` | {family.type} | {shown} | {meaning} |\n")
    assert len(rows["Counters"]) >= len(NAMES)
    return "".join(
        f"### {heading}\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n{''.join(its)}\n"
        for heading, its in rows.items()
    )


def rewritten() -> str:
    """Return the text of the document as the code wants it."""
    text, count = TABLES.subn(lambda _: tables(), DOCUMENT.read_text())
    host = series(0)
    said = f"A host has at most {host} series and {series(1) - host} more for each destination"
    text, also = SERIES.subn(said, text)
    assert (count, also) == (1, 1), "no place for the metrics"
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(rewritten())
