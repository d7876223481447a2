# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Killed at any instant of its work, the store has every alert that it answered for, once, and nothing torn.

Rounds of SIGKILL at random moments while clients send without end, some before the store has begun to answer. Who
got no answer sends the same alert again, as the monitor does. `--store-kills` says how many rounds.
"""

from __future__ import annotations

import itertools
import json
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from urllib.parse import urlencode

import pytest
import requests

from tests.live.ports import free_port
from tests.live.waiting import until
from tests.store.asking import everything
from tests.store.conftest import StartStore
from tests.store.serving import told

SEED = 20_261
CLIENTS = 6
LONGEST_S = 0.5
EARLY = 0.2
"""Of the rounds, so many end while the store still starts."""


@dataclass
class Clients:
    """Who sends; `answered` are the numbers of alerts that were answered 2xx, with what was answered."""

    port: int
    numbers: Iterator[int] = field(default_factory=itertools.count)
    answered: dict[int, bool] = field(default_factory=dict)
    again: Counter[int] = field(default_factory=Counter)
    """How often each alert was sent without an answer."""
    faults: list[tuple[int, object]] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def send_without_end(self) -> None:
        while not self.ended.is_set():
            self._insist(next(self.numbers))

    def _insist(self, number: int) -> None:
        target = f"/alert?{urlencode(told(number))}"
        while True:  # also at the end: no alert is left half told
            connection = self._connection()
            try:
                connection.request("GET", target)
                answer = connection.getresponse()
                said = json.loads(answer.read())
            except (OSError, HTTPException):
                connection.close()
                self.again[number] += 1
                self.ended.wait(0.005)  # it is away
                continue
            if answer.status not in {200, 503}:
                self.faults.append((answer.status, said))
            if answer.status == 200:
                self.answered[number] = said["new"]
                return
            self.again[number] += 1

    _local = threading.local()

    def _connection(self) -> HTTPConnection:
        made = getattr(self._local, "connection", None)
        if made is None or made.port != self.port:
            made = self._local.connection = HTTPConnection("127.0.0.1", self.port, timeout=30)
        return made

    @contextmanager
    def sending(self) -> Iterator[None]:
        threads = [threading.Thread(target=self.send_without_end, daemon=True) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self.ended.set()
            for thread in threads:
                thread.join(60)
            assert not any(thread.is_alive() for thread in threads)


@pytest.mark.timeout(3600)
def test_what_was_answered_is_there_once(
    start: StartStore, database: str, pytestconfig: pytest.Config
) -> None:
    chance = random.Random(SEED)
    kills = int(pytestconfig.getoption("--store-kills"))
    clients = Clients(free_port())
    store = start(database, port=clients.port)
    begun = time.monotonic()
    with clients.sending():
        for number in range(kills):
            before = len(clients.answered)
            if number and chance.random() < EARLY:
                moment_s = time.monotonic() + chance.uniform(0, 3 * LONGEST_S)
            else:
                until(lambda before=before: len(clients.answered) > before, "it answers")  # type: ignore[misc]
                moment_s = time.monotonic() + chance.uniform(0, LONGEST_S)
            until(lambda moment_s=moment_s: time.monotonic() > moment_s, "the moment")  # type: ignore[misc]
            assert store.stop(signal.SIGKILL) == -signal.SIGKILL, store.log()
            store = start(database, port=clients.port, healthy=False)
        store.wait_healthy()
        until(lambda: len(clients.answered) > 10 * kills, "it goes on answering")
    took_s = time.monotonic() - begun
    kept = [alert["seq"] for alert in everything(store)]
    unanswered = sum(clients.again.values())
    known = sum(not new for new in clients.answered.values())
    print(
        f"{kills} kills in {took_s:.0f} s: {len(clients.answered)} answered, {len(kept)} kept, "
        f"{unanswered} sent again, {known} of them were there already"
    )
    assert not clients.faults
    assert len(clients.answered) > 10 * kills
    assert set(clients.answered) == set(kept)
    assert len(kept) == len(set(kept)), [number for number, times in Counter(kept).items() if times > 1]
    assert unanswered >= kills // 2, "the kills came while requests were under way"
    for number, new in clients.answered.items():
        assert new or clients.again[number], f"{number} was sent once, and answered as known"
        answer = None if number % 997 else requests.get(f"{store.url}/alert", params=told(number), timeout=9)
        assert answer is None or answer.json() == {"new": False}
    episodes = requests.get(f"{store.url}/episodes?limit=1000", timeout=30).json()
    assert {episode["alerts"] for episode in episodes} == {1}
