# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The process that reads batches for a store: what it reads is kept like any other, and nobody depends on it."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
import requests

from tests.live.waiting import DEADLINE_S, until
from tests.store.conftest import StartStore
from tests.store.serving import Store, find, tell, told
from tests.store.talking import children

pytestmark = pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="there is none on a single core")


@pytest.fixture
def store(start: StartStore, tmp_path: Path) -> Store:
    return start(f"sqlite:///{tmp_path / 'alerts.sqlite'}")


def reader_of(store: Store) -> int:
    """Return the process's id."""
    (reader,) = children(store.process.pid)
    return reader


def send(store: Store, *alerts: object) -> requests.Response:
    body = "\n".join(map(json.dumps, alerts))
    return requests.post(f"{store.url}/alerts", body, headers=store.headers, timeout=DEADLINE_S)


def status_of(pid: int, name: str) -> list[str]:
    return [line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith(name)]


def test_it_reads_what_the_store_would_have_read(store: Store) -> None:
    stat = Path(f"/proc/{reader_of(store)}/stat")

    def ticks() -> int:
        return sum(map(int, stat.read_text().rpartition(")")[2].split()[11:13]))

    before = ticks()
    for begin in range(0, 3000, 1000):
        batch = [told(n, id=f"{n // 2}") for n in range(begin, begin + 999)]
        said = send(store, *batch, {"event": "burst"}).json()
        assert (said["new"], said["known"], [each["row"] for each in said["refused"]]) == (999, 0, [1000])
    assert ticks() > before
    assert send(store, *range(1001)).status_code == 413
    send(store, told(3001, host="by-batch"))
    tell(store, **told(3001, host="singly"))
    singly, by_batch = find(store, limit=2)
    assert singly == by_batch | {"host": "singly"}


def test_without_it_the_store_reads_by_itself(store: Store) -> None:
    reader = reader_of(store)
    for number in (signal.SIGTERM, signal.SIGINT):  # sent to each process of a service, or of a terminal
        os.kill(reader, number)
    assert send(store, told(1)).json()["new"] == 1
    assert reader_of(store) == reader
    os.kill(reader, signal.SIGKILL)
    for seq in (2, 3):
        assert send(store, told(seq)).json() == {"new": 1, "known": 0, "refused": []}
    assert not Path(f"/proc/{reader}").exists()
    assert store.log().count("the process that reads batches is gone") == 1
    assert {alert["seq"] for alert in find(store)} == {1, 2, 3}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_it_has_nothing_but_its_pipe_and_ends_with_the_store(store: Store, number: signal.Signals) -> None:
    reader = reader_of(store)
    (pipe,) = (os.readlink(file) for file in Path(f"/proc/{reader}/fd").iterdir())
    assert pipe.startswith("socket:")
    for name in ("Uid", "Gid", "Groups", "Cap"):
        assert status_of(reader, name) == status_of(store.process.pid, name)
    store.stop(number)
    until(lambda: not Path(f"/proc/{reader}").exists(), "the end of the reader")
