# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A disk that is not there, fails or hangs, and a date that is corrected: nothing is lost or delayed by them."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from sockbpf.delivery import journal, journal_new, keeping
from sockbpf.delivery import outbox as module
from sockbpf.delivery.journal import Journal
from sockbpf.delivery.owed import Owed, of_this_boot
from sockbpf.errors import UnsupportedError
from tests.unit.offices import Fields, Scripted, alert, office, refuse, rows, until


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal"


# the disk's troubles


@contextmanager
def reopening(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(keeping, "REOPEN_S", 0.01)
    monkeypatch.setattr(module, "IDLE_S", 0.01)
    yield


def test_without_a_disk_alerts_go_on_and_the_journal_is_used_once_it_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "state"
    folder.write_text("a file where the folder should be")
    destination = Scripted()
    with reopening(monkeypatch):
        at = office(folder / "journal", {"http": destination})
        at.put(alert("a", 1))
        until(lambda: destination.seqs() == [1])
        assert "alerts are kept in memory alone" in caplog.text
        assert at.counted("journal_failed")[0] >= 1
        folder.unlink()
        until(lambda: "the journal is used again" in caplog.text)
        at.put(alert("a", 2))
        assert at.stop() == 0
    assert destination.seqs() == [1, 2]
    assert rows(folder / "journal") == []


def test_a_journal_that_another_monitor_has_is_left_to_it(path: Path) -> None:
    first = office(path, {"http": Scripted()})
    threads = threading.active_count()
    with pytest.raises(UnsupportedError, match=f"process {os.getpid()}. Remedy: "):
        office(path, {"http": Scripted()})
    until(lambda: threading.active_count() <= threads)
    first.put(alert("a", 1))
    assert first.stop() == 0


def test_a_disk_that_fails_meanwhile_loses_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The file is taken away under it: what it owes goes on from memory, and into the next journal."""
    with reopening(monkeypatch):
        hold = threading.Event()

        def wait(_: Fields) -> None:
            assert hold.wait(60)

        destination = Scripted(wait)
        at = office(path, {"http": destination})
        at.put(alert("a", 1))
        until(lambda: rows(path) == [1])
        path.unlink()
        at.put(alert("b", 2))
        until(lambda: "the journal is used again" in caplog.text)
        until(lambda: rows(path) == [1, 2])
        hold.set()
        assert at.stop() == 0
    assert sorted(destination.seqs()) == [1, 2]
    assert rows(path) == []


def test_a_disk_that_hangs_delays_nothing_and_is_made_whole_when_it_answers(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = threading.Event()
    answers.set()
    write = Journal.write

    def wait_and_write(*arguments: Any) -> None:
        assert answers.wait(60)
        write(*arguments)

    monkeypatch.setattr(Journal, "write", wait_and_write)

    def fail_some(each: Fields) -> None:
        if int(each["seq"]) % 2:
            refuse(each)

    destination = Scripted(fail_some)
    at = office(path, {"http": destination})
    at.put(alert("a", 2))
    until(lambda: destination.seqs() == [2])
    answers.clear()
    monkeypatch.setattr(
        keeping, "SLOW_S", 0.05
    )  # from here to its answer: a busy machine has a slow disk too
    at.put(*(alert(str(n), n) for n in range(3, 40)))
    at.put(*(alert(str(n), n) for n in range(40, 50)))
    until(lambda: len(destination.took) == 24)
    assert caplog.text.count("the journal's disk is slow") == 1
    assert at.counted("journal_slow", "journal_failed") == (1, 0)
    monkeypatch.undo()
    monkeypatch.setattr(Journal, "write", wait_and_write)
    answers.set()
    until(lambda: caplog.text.count("answers again") == 1)
    until(lambda: rows(path) == list(range(3, 50, 2)))
    assert at.stop(0) == 24


def test_no_alert_waits_for_its_journal_to_be_made_smaller(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first step of it does not end: the alert that was written before has gone out all the same."""
    goes_on, steps = threading.Semaphore(0), threading.Semaphore(0)
    step = Journal.make_compact

    def wait_and_step(journal: Journal) -> None:
        steps.release()
        assert goes_on.acquire(timeout=60)
        step(journal)

    monkeypatch.setattr(Journal, "make_compact", wait_and_step)
    monkeypatch.setattr(keeping, "SLOW_S", 60.0)
    monkeypatch.setattr(journal, "DENSE_BYTES", 1)
    monkeypatch.setattr(journal_new, "PART_BYTES", 300)
    destination = Scripted()
    at = office(path, {"http": destination})
    at.put(alert("1", 1))
    assert steps.acquire(timeout=60)
    until(lambda: destination.seqs() == [1])
    goes_on.release(10**6)
    at.put(*(alert(str(n), n) for n in range(2, 24)))
    until(lambda: destination.seqs() == list(range(1, 24)))
    assert at.stop() == 0
    assert at.counted("journal_slow") == (0,)


def test_a_stop_does_not_wait_for_a_disk_that_hangs(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    answers = threading.Event()
    monkeypatch.setattr(Journal, "write", lambda *_: answers.wait(60))
    monkeypatch.setattr(keeping, "SLOW_S", 0.05)
    monkeypatch.setattr(module, "CLOSE_S", 0.05)
    at = office(path, {"http": Scripted(refuse)}, first_s=3600, max_s=3600)
    at.put(alert("a", 1))
    until(lambda: at.counted("journal_slow") == (1,))
    begun = time.monotonic()
    assert at.stop(0) == 1
    assert time.monotonic() - begun < 20
    assert "1 alerts that are owed are perhaps not in" in caplog.text
    answers.set()


# its age


def test_a_corrected_date_makes_nothing_old(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    at = office(path, {"http": Scripted(refuse)}, first_s=3600, max_s=3600)
    at.put(alert("a", 1))
    until(lambda: at.counted("retried") == (1,))
    now_s = time.time
    for days in (4000, -4000):
        monkeypatch.setattr(time, "time", lambda days=days: now_s() + days * 86400)
        at.put(alert(str(days), 2))
        until(lambda: at.outbox.flush(1))
    assert at.counted("given_up") == (0,)
    assert at.stop(0) == 3
    destination = Scripted()
    assert office(path, {"http": destination}).stop() == 0
    assert len(destination.took) == 3


def test_no_alert_of_an_earlier_boot_is_older_than_can_be_proven() -> None:
    def made(boot: str, boot_s: float) -> Owed:
        return Owed(1, "http", "a", 0.0, "{}", boot=boot, boot_s=boot_s)

    found = [
        made("earlier", 100.0),
        made("earlier", 700.0),
        made("this", 30.0),
        made("this", 1e9),
        made("", 0.0),
    ]
    assert [one.boot_s for one in of_this_boot(found, "this", 50.0)] == [-600.0, 0.0, 30.0, 50.0, 50.0]
    assert {one.boot for one in of_this_boot(found, "this", 50.0)} == {"this"}
    # From boot to boot it grows: nothing is kept for ever.
    again = of_this_boot(of_this_boot(found, "this", 50.0), "later", 5.0)
    assert [one.boot_s for one in again] == [-650.0, -50.0, -20.0, 0.0, 0.0]
