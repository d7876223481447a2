# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The process that reads batches answers each who asks what that one asked, also when several ask at once."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from sockbpf.store.web import reader
from sockbpf.store.web.reader import Reader
from tests.store.serving import told

THREADS = 4


@pytest.fixture
def process() -> Iterator[Reader]:
    made = Reader()
    yield made
    if made._pipe:
        made._give_up(made._pipe, EOFError("the test has ended"))


def ids_of(process: Reader, number: int) -> list[object]:
    batch = process.batch_of(json.dumps(told(number)).encode(), "identity", is_trusted=True)
    return [entry.columns["id"] for entry in batch.entries]


def test_who_asks_while_another_waits_has_an_answer_of_its_own(process: Reader) -> None:
    found: dict[int, list[object]] = {}

    def ask(number: int) -> None:
        found[number] = ids_of(process, number)

    os.kill(process._pid, signal.SIGSTOP)
    threads = [threading.Thread(target=ask, args=(number,)) for number in range(THREADS)]
    for thread in threads:
        thread.start()
    time.sleep(0.2)
    os.kill(process._pid, signal.SIGCONT)
    for thread in threads:
        thread.join(10)
    assert found == {number: [f"{number:016x}"] for number in range(THREADS)}
    assert process._pipe, "it is there still"


def test_who_asks_one_that_is_frozen_is_answered_all_the_same(
    process: Reader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reader, "PATIENCE_S", 1.0)
    os.kill(process._pid, signal.SIGSTOP)
    large = b"x" * 2**21
    assert process.batch_of(large, "identity", is_trusted=True).entries == []
    assert process._pipe is None
    assert ids_of(process, 7) == [f"{7:016x}"]
