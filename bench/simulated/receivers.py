# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""To whom a simulated fleet tells: a store on a database, a collector of OTLP; what they have, and what it takes."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from bench.databases import listening, server_cpu_s, size, tree_cpu_s
from bench.simulated.tally import Identity, identity
from sockbpf.record.alert import EVENTS, HEARTBEAT, OF_RUN
from sockbpf.store.data.filters import MOST_ROWS
from tests.live.collectors import LOGS, attributes, broker, collector, records
from tests.live.waiting import until
from tests.store.serving import Store, start_store
from tests.store.talking import children

ANSWER_S = 60.0


@dataclass(frozen=True)
class Receiver:
    """A running receiver."""

    name: str
    url: str
    pid: int
    kept: Callable[[int], Iterator[Identity]]
    """Yields all alerts that it has, but heartbeats, each as often as it has it; it waits until there are so many."""
    size: Callable[[], float | None]
    """Returns the bytes of its database, None if it has none."""
    behind_cpu_s: Callable[[], float]
    """Returns the CPU seconds of the server to which it hands on: of its database, of a broker."""


@contextmanager
def store_on(name: str, database: str, folder: Path) -> Iterator[Receiver]:
    """Run a store on a database of its own."""
    store = start_store(folder, database)
    try:
        yield Receiver(
            name,
            store.url,
            store.process.pid,
            kept=lambda _: _kept(store),
            size=lambda: size(database),
            behind_cpu_s=lambda: server_cpu_s(database),
        )
    finally:
        store.stop()


def _kept(store: Store) -> Iterator[Identity]:
    for event in (*EVENTS, *OF_RUN):
        path: str | None = f"/store.json?event={event}&limit={MOST_ROWS}"
        while path:
            answer = requests.get(store.url + path, timeout=ANSWER_S)
            assert answer.status_code == 200, answer.text
            yield from map(identity, answer.json())
            path = answer.links.get("next", {}).get("url")


@contextmanager
def collecting(folder: Path) -> Iterator[Receiver]:
    """Run a collector of OTLP that hands on to a broker, which tells what arrived there."""
    folder.mkdir()
    with ExitStack() as stack:
        to = broker(folder, stack)
        to.start()
        rotel = collector(folder, stack, to)
        rotel.start()

        def kept(number: int) -> Iterator[Identity]:
            found: list[Identity] = []

            def all_are_there() -> bool:
                found[:] = (_identity(*of) for of in records(to.kept(LOGS)) if not _is_beat(of[1]))
                return len(found) >= number

            until(all_are_there, lambda: f"{number} are in the topic, not {len(found)}", ANSWER_S)
            yield from found

        behind = listening(to.port)
        yield Receiver(
            "Rotel",
            rotel.url,
            rotel.processes[-1].pid,
            kept,
            size=lambda: None,
            behind_cpu_s=lambda: tree_cpu_s(behind),
        )


def _is_beat(record: dict[str, Any]) -> bool:
    return bool(attributes(record)["sockbpf.event"] == HEARTBEAT)


def _identity(resource: dict[str, Any], record: dict[str, Any]) -> Identity:
    found = attributes(record)
    fields = {name: found[f"sockbpf.{name}"] for name in ("id", "event", "seq")}
    return identity({**fields, "host": resource["host.name"]})


def peak_mib(pid: int) -> float:
    """Return the most memory that a process has had resident, and its children; what they share counts twice."""
    statuses = (Path(f"/proc/{each}/status").read_text() for each in (pid, *children(pid)))
    return sum(int(kib) for kib in re.findall(r"^VmHWM:\s+(\d+) kB", "".join(statuses), re.MULTILINE)) / 1024
