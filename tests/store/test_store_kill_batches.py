# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Killed while batches come as fast as it takes them, the store has each alert that it answered for, once.

Entries, episodes, hosts and the timeline agree on it: a batch is kept with all that is made of it, or not at all.
"""

from __future__ import annotations

import itertools
import json
import random
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException

import requests

from tests.live.ports import free_port
from tests.live.waiting import until
from tests.store.asking import everything
from tests.store.conftest import StartStore
from tests.store.serving import told

SEED = 20_263
KILLS = 3
CLIENTS = 3
BATCH = 300
EVENTS = ("exceeded", "ongoing", "cleared")
LONGEST_S = 0.4


def batch(number: int) -> list[dict[str, str]]:
    """Return a batch of whole episodes, of a host for each sixty alerts."""
    numbers = range(number * BATCH, (number + 1) * BATCH)
    return [
        told(each, id=f"{each // 3:016x}", event=EVENTS[each % 3], host=f"web{each // 60}")
        for each in numbers
    ]


@dataclass
class Clients:
    """Who sends batches; each is sent again until it is answered, as the monitor does."""

    port: int
    numbers: Iterator[int] = field(default_factory=itertools.count)
    answered: set[int] = field(default_factory=set)
    """Numbers of batches."""
    again: int = 0
    known: int = 0
    """Batches that had been kept, but not answered."""
    faults: list[object] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def send_without_end(self) -> None:
        while not self.ended.is_set():
            number = next(self.numbers)
            body = "\n".join(map(json.dumps, batch(number)))
            while not self._is_answered(number, body):
                self.again += 1
                self.ended.wait(0.005)  # it is away

    def _is_answered(self, number: int, body: str) -> bool:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request("POST", "/alerts", body)
            answer = connection.getresponse()
            said = json.loads(answer.read())
        except (OSError, HTTPException):
            return False
        finally:
            connection.close()
        if answer.status == 200:
            self.answered.add(number)
            self.known += said["known"] > 0
        if answer.status not in {200, 429, 503} or said.get("known", 0) not in {0, BATCH}:
            self.faults.append((answer.status, said))
        return answer.status == 200


def test_each_alert_of_an_answered_batch_is_there_once(start: StartStore, database: str) -> None:
    chance = random.Random(SEED)
    clients = Clients(free_port())
    store = start(database, port=clients.port)
    threads = [threading.Thread(target=clients.send_without_end, daemon=True) for _ in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for _ in range(KILLS):
        before = len(clients.answered)
        until(lambda before=before: len(clients.answered) > before, "it answers")  # type: ignore[misc]
        moment_s = time.monotonic() + chance.uniform(0, LONGEST_S)
        until(lambda moment_s=moment_s: time.monotonic() > moment_s, "the moment")  # type: ignore[misc]
        assert store.stop(signal.SIGKILL) == -signal.SIGKILL, store.log()
        store = start(database, port=clients.port, healthy=False)
    store.wait_healthy()
    clients.ended.set()
    for thread in threads:
        thread.join(60)
    assert not any(thread.is_alive() for thread in threads)
    assert not clients.faults
    count = BATCH * len(clients.answered)
    print(
        f"{count} alerts answered, {clients.again} batches sent again, {clients.known} of them were there already"
    )
    assert clients.again >= KILLS, "the kills came while batches were under way"

    kept = sorted(alert["seq"] for alert in everything(store))
    assert kept == sorted(
        n for number in clients.answered for n in range(number * BATCH, (number + 1) * BATCH)
    )
    window = {"from": "1795343000", "to": f"{1_795_344_000 + (max(clients.answered) + 1) * BATCH}"}
    timeline = requests.get(f"{store.url}/timeline", params=window, timeout=30).json()
    counts = timeline["counts"]["RECV"]
    assert {event: sum(counts[event]) for event in EVENTS} == dict.fromkeys(EVENTS, count // 3)
    hosts = requests.get(f"{store.url}/hosts", timeout=30).json()
    assert sum(hosts["counts"].values()) == count // 60
    sample = requests.get(f"{store.url}/episodes?limit=1000", timeout=30).json()
    assert {(episode["alerts"], episode["state"]) for episode in sample} == {(3, "ended")}
