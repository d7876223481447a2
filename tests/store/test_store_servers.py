# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Two stores on one server of a database, a store and the server killed: nothing is lost, nothing is there twice."""

from __future__ import annotations

import json
import random
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from itertools import count
from pathlib import Path
from tempfile import mkdtemp

import pytest
import requests

from tests.live.ports import free_port
from tests.live.waiting import until
from tests.store.asking import everything
from tests.store.conftest import StartStore, only_for_today
from tests.store.servers import STARTS, make_mysql, new_database
from tests.store.serving import told

SEED = 20_261_130
SENDERS = 2
ROWS = 50
"""Alerts of one request."""


@pytest.fixture
def folder() -> Iterator[Path]:
    made = Path(mkdtemp(prefix="sockbpf-server-"))
    yield made
    shutil.rmtree(made, ignore_errors=True)


class Sender:
    """Sends batches to one store after another until each is answered, as a monitor with two of them does."""

    def __init__(self, urls: list[str], numbers: Iterator[int], ended: threading.Event) -> None:
        self.urls = urls
        self.numbers = numbers
        self.ended = ended
        self.answered: list[int] = []
        self.again = 0
        self.thread = threading.Thread(target=self.run, daemon=True)

    def run(self) -> None:
        dice = random.Random(SEED)
        while not self.ended.is_set():
            batch = [next(self.numbers) for _ in range(ROWS)]
            body = "\n".join(json.dumps(told(number, id=f"{number // 2:x}")) for number in batch)
            while not self.send(dice.choice(self.urls), body):
                self.again += 1
                time.sleep(0.02)
            self.answered += batch

    def send(self, url: str, body: str) -> bool:
        with suppress(requests.RequestException):
            answer = requests.post(f"{url}/alerts", data=body, timeout=20)
            assert answer.status_code in {200, 429, 503}, answer.text
            return answer.status_code == 200
        return False


@pytest.mark.timeout(200)
@pytest.mark.parametrize("kind", STARTS)
def test_of_two_stores_and_their_server_each_may_be_killed(
    start: StartStore, folder: Path, kind: str, request: pytest.FixtureRequest
) -> None:
    only_for_today(request, kind, tuple(STARTS))
    if kind == "mysql":
        make_mysql(folder)
    server = STARTS[kind](folder, free_port())
    database = new_database(server.url)
    stores = [start(database), start(database)]
    ports = [int(store.url.rpartition(":")[2]) for store in stores]
    ended, numbers = threading.Event(), count()
    senders = [Sender([store.url for store in stores], numbers, ended) for _ in range(SENDERS)]

    def goes_on() -> None:
        before = [len(sender.answered) for sender in senders]
        until(
            lambda: all(len(sender.answered) > was for sender, was in zip(senders, before, strict=True)),
            "alerts are answered",
        )

    for sender in senders:
        sender.thread.start()
    try:
        goes_on()
        assert stores[0].stop(signal.SIGKILL) == -signal.SIGKILL
        goes_on()
        stores[0] = start(database, port=ports[0])
        goes_on()
        server.process.kill()
        server.process.wait()
        until(
            lambda: requests.get(f"{stores[1].url}/healthz", timeout=30).status_code == 503,
            "the store says that its database is away",
        )
        server = STARTS[kind](folder, int(server.url.rpartition(":")[2]))
        goes_on()
    finally:
        ended.set()
        for sender in senders:
            sender.thread.join(60)
    answered = {number for sender in senders for number in sender.answered}
    for store in stores:
        kept = Counter(alert["seq"] for alert in everything(store))
        assert set(kept) == answered
        assert kept.total() == len(kept), "none is there twice"
        assert "Traceback" not in store.log()
    for store in stores:
        store.stop()
    server.process.kill()
    server.process.wait()
    print(f"{len(answered)} answered, {sum(sender.again for sender in senders)} requests sent again")
