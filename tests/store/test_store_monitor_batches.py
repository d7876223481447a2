# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A monitor sends batches to a store by TLS with a token, while that is killed and away: all is kept once, in order.

What must be there is what the same monitor tells another receiver, alert by alert.
"""

from __future__ import annotations

import json
import random
import signal
import socket
import sqlite3
import time
from collections import defaultdict
from contextlib import ExitStack, closing
from pathlib import Path

from tests.live.monitoring import launch, thresholds
from tests.live.receiver import receiving
from tests.live.sockets import drain, tcp_pair, unread
from tests.live.told import Word, word
from tests.live.waiting import until
from tests.store.conftest import StartStore
from tests.store.serving import TOKEN

SEED = 4_177
ROUNDS = 2
HUNG, MOVING = 7, 11
CROSSINGS = 211
UNREAD = 30_011
AWAY_S = 1.0


def cross(pairs: list[tuple[socket.socket, socket.socket]], chance: random.Random) -> None:
    """Fill a queue, or drain it if it is full."""
    client, server = chance.choice(pairs)
    if unread(server):
        drain(server, UNREAD)
    else:
        client.sendall(bytes(UNREAD))
        until(lambda: unread(server) == UNREAD, "it is in the queue")


def kept(file: Path) -> list[dict[str, str]]:
    """Return the alerts of a store, in the order in which it wrote them."""
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as database:
        bodies = [json.loads(body) for (body,) in database.execute("select body from entry order by n")]
    return [{name: str(value) for name, value in body.items()} for body in bodies]


def test_all_is_kept_once_and_in_order(
    start: StartStore, tls: dict[str, str], stack: ExitStack, tmp_path: Path
) -> None:
    chance = random.Random(SEED)
    file, trusted = tmp_path / "alerts.sqlite", tls.pop("trusted")
    secret = tmp_path / "token"
    secret.write_text(f"{TOKEN}\n")
    store = start(f"sqlite:///{file}", token=TOKEN, trusted=trusted, **tls)
    port = int(store.url.rpartition(":")[2])
    receiver = stack.enter_context(receiving())
    monitor = launch(
        tmp_path / "monitor",
        receiver.url,
        {
            "thresholds": thresholds(20_011),
            "repeat": "1s",
            "heartbeat": "1s",
            "events": ["exceeded", "ongoing", "cleared", "started", "stopped"],
            "delivery": {"retry_first": "10ms", "retry_max": "100ms", "timeout": "5s"},
            "destinations": [
                {"type": "store", "url": store.url, "token": {"file": str(secret)}, "ca_file": trusted}
            ],
        },
    )
    stack.callback(monitor.process.kill)
    monitor.wait_armed()
    hung = [tcp_pair(stack) for _ in range(HUNG)]
    moving = [tcp_pair(stack) for _ in range(MOVING)]
    for client, _ in hung:
        client.sendall(bytes(UNREAD))

    for _ in range(ROUNDS):
        for _ in range(CROSSINGS):
            cross(moving, chance)
        assert store.stop(signal.SIGKILL) == -signal.SIGKILL
        back_s = time.monotonic() + chance.uniform(0, AWAY_S)
        for _ in range(CROSSINGS):
            cross(moving, chance)
        until(lambda back_s=back_s: time.monotonic() > back_s, "the moment")  # type: ignore[misc]
        store = start(f"sqlite:///{file}", port=port, token=TOKEN, trusted=trusted, **tls)
    for _, server in hung:
        drain(server, UNREAD)

    def words(alerts: list[dict[str, str]]) -> list[Word]:
        return [word(each) for each in alerts if each["event"] in {"exceeded", "ongoing", "cleared"}]

    def told_and_kept() -> bool:
        told = sorted(words(receiver.alerts()))
        return told == sorted(words(kept(file))) and sum(event == "cleared" for event, _, _ in told) >= HUNG

    until(told_and_kept, "both have heard of the ends")
    until(lambda: any(each["event"] == "heartbeat" for each in kept(file)), "a heartbeat is kept")
    assert monitor.stop() == 0
    told = receiver.alerts()
    here, counters = kept(file), monitor.counters()
    print(f"{len(here)} alerts, {len(words(told))} of sockets; {monitor.log().splitlines()[-1]}")
    assert len(words(told)) > HUNG + ROUNDS * CROSSINGS
    assert counters["retried"] > 0
    assert sorted(words(here)) == sorted(set(words(told)))
    assert {each["event"] for each in here} == {each["event"] for each in told}
    by_episode: dict[str, list[int]] = defaultdict(list)
    for _, id_, seq in words(here):
        by_episode[id_].append(seq)
    assert all(seqs == sorted(seqs) for seqs in by_episode.values())
    assert (counters["given_up"], counters["dropped"]) == (0, 0)
    assert TOKEN not in monitor.log()
