# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What waits takes the memory that it needs, and no more however much was given up for it."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockbpf.delivery import journal as journal_module
from sockbpf.delivery.breaker import Breaker, Bucket
from sockbpf.delivery.journal import Journal
from sockbpf.delivery.owed import Owed
from sockbpf.delivery.queue import Queue
from sockbpf.record.alert import EXCEEDED
from tests.unit.notices import flapping, notice

ALERTS = 1009
OF_A_JOURNAL = 5003
"""So many that what a journal needs besides is little of it."""
BODY = 400
"""Characters, about those of a real alert."""


def owed(n: int) -> Owed:
    body = f'{{"timestamp":"{n}.5","event":"exceeded","id":"{n:016x}","seq":"{n}","host":"'
    return Owed(
        n, "http", f"{n:016x}", 10.5 + n, body + "h" * (BODY - len(body) - 2) + '"}', 0, "udp RECV 53"
    )


@pytest.fixture
def traced() -> Iterator[None]:
    tracemalloc.start()
    yield
    tracemalloc.stop()


def now_and_peak() -> tuple[int, int]:
    return tracemalloc.get_traced_memory()


@pytest.mark.usefixtures("traced")
def test_an_alert_that_is_owed_takes_less_than_three_times_its_body() -> None:
    queue = Queue(capacity=ALERTS, breaker=Breaker(1, 60), bucket=Bucket(0, 0))
    before, _ = now_and_peak()
    queue.offer([owed(n) for n in range(ALERTS)])
    each = (now_and_peak()[0] - before) / ALERTS
    print(f"{each:.0f} bytes for each alert, {BODY} of them its body")
    assert each < 3 * BODY


@pytest.mark.usefixtures("traced")
def test_a_full_queue_does_not_grow_whatever_it_gives_up() -> None:
    queue = Queue(capacity=ALERTS, breaker=Breaker(1, 60), bucket=Bucket(0, 0))
    for n in range(2 * ALERTS):
        queue.offer([owed(n)])
    full, _ = now_and_peak()
    for n in range(2 * ALERTS, 8 * ALERTS):
        queue.offer([owed(n)])
    grown = now_and_peak()[0] - full
    print(f"{grown} bytes more after {6 * ALERTS} more alerts")
    assert queue.depth() == ALERTS
    assert grown < ALERTS * BODY / 10


@pytest.mark.usefixtures("traced")
def test_a_journal_that_is_made_dense_does_not_stand_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal_module, "DENSE_BYTES", 2**20)
    journal = Journal(tmp_path / "journal")
    for n in range(0, OF_A_JOURNAL, 100):
        journal.write(map(owed, range(n, n + 100)), [], n + 100, n + 100)
    inode = (tmp_path / "journal").stat().st_ino
    before, _ = now_and_peak()
    tracemalloc.reset_peak()
    for n in range(OF_A_JOURNAL + 100, 3 * OF_A_JOURNAL, 50):
        gone = range(n - OF_A_JOURNAL - 100, n - OF_A_JOURNAL - 50)
        journal.write(map(owed, range(n, n + 50)), gone, n + 50, n + 50)
        journal.make_compact()
    peak = now_and_peak()[1] - before
    size = (tmp_path / "journal").stat().st_size
    print(f"{peak} bytes at most for a journal of {size}")
    assert (tmp_path / "journal").stat().st_ino != inode
    assert peak < size / 2
    journal.close()


@pytest.mark.usefixtures("traced")
def test_a_queue_with_one_notice_takes_half_a_kilobyte() -> None:
    stage = flapping()
    before, _ = now_and_peak()
    for queue in range(ALERTS):
        stage.on_notices([notice(EXCEEDED, 1, 10**9, queue)], 10**9)
    each = (now_and_peak()[0] - before) / ALERTS
    print(f"{each:.0f} bytes for each queue")
    assert each < 700
