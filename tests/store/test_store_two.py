# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Two stores on one database, one killed under load: the monitor goes on by the other, and nothing is lost.

The monitor tells both; each of them keeps what the other has not kept already.
"""

from __future__ import annotations

import re
import signal
import socket
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from sqlalchemy import func, select

from sockbpf.store.data.engine import open_engine
from sockbpf.store.data.schema import ENTRY
from tests.live.monitoring import launch
from tests.live.waiting import until
from tests.store.asking import everything
from tests.store.conftest import StartStore
from tests.store.serving import Store, engine_url

SOCKETS = 1_009
ROUNDS = 3
THRESHOLD = 20_011
DATAGRAM = 30_011
SERVICE = 20_059
TOLD = re.compile(r"event=(\w+) .* id=(\w+) seq=(\d+) ")
LOST = ("lost_submit", "lost_ring", "episodes_full", "dropped", "given_up")


@pytest.fixture
def crowd(stack: ExitStack) -> list[socket.socket]:
    """Sockets of one service, each bound to an address of its own of loopback."""
    made = []
    for number in range(SOCKETS):
        sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        sock.bind((f"127.2.{number >> 8}.{number & 255}", SERVICE))
        made.append(sock)
    return made


def cross(crowd: list[socket.socket]) -> None:
    """Have each go over its threshold, and back."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as writer:
        for sock in crowd:
            writer.sendto(bytes(DATAGRAM), sock.getsockname())
    for sock in crowd:
        assert len(sock.recv(DATAGRAM)) == DATAGRAM


def ours(database: str) -> int:
    engine = open_engine(engine_url(database), connections=1)
    with engine.connect() as connection:
        found = select(func.count()).where(ENTRY.c.local_port == SERVICE)
        count = connection.execute(found).scalar_one()
    engine.dispose()
    return int(count)


def kept(store: Store) -> Counter[tuple[str, str, int]]:
    return Counter((alert["event"], alert["id"], alert["seq"]) for alert in everything(store))


@pytest.mark.timeout(300)
def test_one_of_two_stores_killed_costs_nothing(
    start: StartStore,
    shared: str,
    stack: ExitStack,
    crowd: list[socket.socket],
    tmp_path: Path,
) -> None:
    first, second = start(shared), start(shared)
    monitor = launch(
        tmp_path / "monitor",
        f"{first.url}/alert",
        {
            "destinations": [{"type": "http", "name": "other", "url": f"{second.url}/alert"}],
            "thresholds": {"send": "1GiB", "recv": THRESHOLD},
            "delivery": {"retry_first": "50ms", "retry_max": "500ms"},
            "repeat": "1h",
            "kernel": {"perf_pages": 1024},
        },
    )
    stack.callback(monitor.process.kill)
    monitor.wait_armed()
    for number in range(ROUNDS):
        before = ours(shared)
        cross(crowd)
        if number == 1:
            until(lambda before=before: ours(shared) > before + 50, "the load is under way")  # type: ignore[misc]
            assert first.stop(signal.SIGKILL) == -signal.SIGKILL
            at_kill = ours(shared)
    everything = 2 * ROUNDS * SOCKETS
    assert at_kill < everything, "it was killed under load"
    until(lambda: ours(shared) == everything, lambda: f"{ours(shared)} of {everything}", 120)

    again = start(shared, port=urlsplit(first.url).port)

    def caught_up() -> bool:
        """Tell whether the one that was away has been told everything too: known to it are all but its own."""
        return metric(again, "kept") + metric(again, "duplicates") >= everything - at_kill

    until(caught_up, lambda: f"{metric(again, 'duplicates')} told again", 120)
    assert monitor.stop() == 0, monitor.log()
    counts = monitor.counters()
    assert {name: counts[name] for name in LOST} == dict.fromkeys(LOST, 0)
    told = Counter((event, id_, int(seq)) for event, id_, seq in TOLD.findall(monitor.log()))
    assert len(told) >= everything
    found = kept(second)
    assert found.total() == len(found), [each for each, times in found.items() if times > 1]
    assert not told.keys() - found.keys()
    assert kept(again) == found, "both show the same"
    print(f"{len(told)} told, {len(found)} kept, {at_kill} of them when one was killed; {counts}")


def metric(store: Store, name: str) -> int:
    text = requests.get(f"{store.url}/metrics", timeout=9).text
    found = re.search(rf"^sockbpf_store_{name}_total ([\d.e+]+)$", text, re.MULTILINE)
    assert found, text
    return int(float(found[1]))
