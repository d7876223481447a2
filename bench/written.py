# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How many alerts of a fleet one store takes in a second, in batches, and with what processor time.

The batches are made and compressed beforehand; each is sent once the one before it on its connection is on disk.
"""

from __future__ import annotations

import gzip
import json
import os
import random
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from http.client import HTTPConnection
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import urlsplit

import requests

from bench.databases import databases, server_cpu_s, size, tree_cpu_s
from bench.figure import Figure, attempted
from bench.told import Fields, episode, of_monitor
from tests.store.serving import TOKEN, Store, start_store
from tests.store.talking import children, memory_mib

BATCH = 1000
CONNECTIONS = 4
"""Each sends of hosts of its own, so that the alerts of an episode come in their order."""
FEW, MANY = 3, 250
"""Hosts of a connection; of few, each sends batches of its own, of many, each batch has some alerts of each."""
SHAPES = ((FEW, "one host"), (MANY, f"{MANY} hosts"))
OPEN = 1500
"""Episodes of a connection that are open at the same time."""
HEARTBEAT_EACH = 8
"""Of so many, one is a heartbeat."""
BATCHES = 50
"""Of each connection."""
GOAL = 20_000


def alerts(count: int, hosts: int, connection: int = 0) -> Iterator[Fields]:
    """Yield what monitors send, batch after batch: episodes that begin, go on and end, and heartbeats."""
    now_s = time.time()
    in_a_row = BATCH if hosts == FEW else 1
    for number in range(count):
        turn, place = divmod(number, in_a_row)
        host = f"host{connection}-{turn % hosts}.example.com"
        of_host = turn // hosts * in_a_row + place
        at_s = now_s - CONNECTIONS * (count - number) / GOAL
        if of_host % HEARTBEAT_EACH == 0:
            yield of_monitor("heartbeat", host, of_host, at_s)
        else:
            yield _alert(of_host, host, at_s, OPEN // hosts)


def _alert(seq: int, host: str, at_s: float, open_episodes: int) -> Fields:
    begun, rest = divmod(seq - seq // HEARTBEAT_EACH - 1, 3 * open_episodes)
    step, which = divmod(rest, open_episodes)
    of = episode(host, random.Random(f"{host} {begun * open_episodes + which}"))
    return of.alert(("exceeded", "ongoing", "cleared")[step], seq, at_s, step * 30)


def _bodies(count: int, hosts: int, connection: int) -> list[bytes]:
    """Return the bodies of so many batches."""
    lines = [json.dumps(each) for each in alerts(count * BATCH, hosts, connection)]
    some = ("\n".join(lines[begin : begin + BATCH]) for begin in range(0, len(lines), BATCH))
    return [gzip.compress(each.encode(), 1) for each in some]


def _send(store: Store, bodies: list[bytes]) -> None:
    connection = HTTPConnection(urlsplit(store.url).netloc, timeout=60)
    for body in bodies:
        connection.request("POST", "/alerts", body, {**store.headers, "Content-Encoding": "gzip"})
        answer = connection.getresponse()
        said = json.loads(answer.read())
        assert said == {"new": BATCH, "known": 0, "refused": []}, (answer.status, said)
    connection.close()


def take(what: str, folder: Path, made: Callable[[], str], bodies: list[list[bytes]]) -> Figure:
    """Return the rate at which a store takes these batches."""
    database = made()
    store = start_store(folder, database, token=TOKEN)
    try:
        pid = store.process.pid
        begun_s, used_s, server_s = time.monotonic(), tree_cpu_s(pid), server_cpu_s(database)
        with ThreadPoolExecutor(CONNECTIONS) as threads:
            list(threads.map(lambda some: _send(store, some), bodies))
        took_s = time.monotonic() - begun_s
        used_s, server_s = tree_cpu_s(pid) - used_s, server_cpu_s(database) - server_s
        metrics = requests.get(f"{store.url}/metrics", headers=store.headers, timeout=9).text
        count = BATCH * sum(map(len, bodies))
        assert f"sockbpf_store_kept_total {float(count)}" in metrics, metrics
        memory = sum(map(memory_mib, (pid, *children(pid))))  # what the two share counts twice
    finally:
        store.stop()
    return Figure(
        what,
        "per second",
        (count / took_s,),
        goal=f"at least {GOAL}",
        met=count / took_s >= GOAL,
        note=f"{1e6 * used_s / count:.0f} µs of a core each, {1e6 * server_s / count:.0f} µs of its database's "
        f"server, {size(database) / count:.0f} bytes in the database; {memory:.0f} MiB",
    )


def measure(*, quick: bool) -> list[Figure]:
    """Return the rates of each database, of batches of one host each and of batches of many; quick, of the latter."""
    figures = []
    of_each, connections = (1, 1) if quick else (BATCHES, CONNECTIONS)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=os.environ.get("TMPDIR", "/var/tmp"))))
        kinds = stack.enter_context(databases(folder))
        for hosts, of in SHAPES[-1:] if quick else SHAPES:
            bodies = [_bodies(of_each, hosts, connection) for connection in range(connections)]
            for name, made in kinds.items():
                count = connections * of_each * BATCH
                what = f"alerts into the store, {name}, {count} in batches of {BATCH}, of {of} each"
                taken = partial(take, what, folder / f"{name}{hosts}", made, bodies)
                figures += attempted(what, lambda: [taken()])  # noqa: B023
    return figures
