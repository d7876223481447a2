# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A journal is made smaller in steps while it is in use: no alert of it is lost, comes back or waits for that."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from sockbpf.delivery import journal as module
from sockbpf.delivery import journal_new
from sockbpf.delivery.journal import Journal, JournalError
from tests.unit.journals import owed

needs_mounts = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("mount"), reason="mounting needs root"
)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal"


def write_and_compact(journal: Journal, n: int, settled: int) -> None:
    """Write an alert and forget another, and do a step of making the journal smaller, as the keeper does."""
    journal.write([owed(n)], [settled], n, n)
    journal.make_compact()


def test_it_stays_small_while_alerts_come_and_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DENSE_BYTES", 10_000)
    journal = Journal(path)
    staying = [owed(n) for n in range(1, 18)]
    journal.write(staying, [], 17, 17)
    for n in range(18, 2018):
        write_and_compact(journal, n, n - 1 if n > 18 else 0)
        assert path.stat().st_size < 25_000
    journal.close()
    again = Journal(path)
    assert again.owed() == [*staying, owed(2017)]
    assert (again.last_seq, again.last_n) == (2017, 2017)
    again.close()


def test_a_disk_without_room_to_make_it_small_is_no_trouble(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "DENSE_BYTES", 2_000)
    journal = Journal(path)
    path.with_name("journal.new").mkdir()
    for n in range(1, 102):
        write_and_compact(journal, n, n - 1)
    assert journal.owed() == [owed(101)]
    assert path.stat().st_size > 10_000
    path.with_name("journal.new").rmdir()
    for n in range(102, 150):
        write_and_compact(journal, n, n - 1)
    assert path.stat().st_size < 10_000
    journal.close()


def compacting(path: Path, number: int) -> Journal:
    """Return a journal that is being made smaller; the third of its alerts that stay are those with n % 3 == 0."""
    journal = Journal(path)
    journal.write([owed(n) for n in range(number)], [], number, number)
    journal.write([], [n for n in range(number) if n % 3], number, number)
    journal.make_compact()
    assert not journal.is_compact, "one step is not enough"
    return journal


def test_what_changes_while_it_is_made_small_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alerts settled before and after they are copied, and alerts made: none comes back, none is lost."""
    monkeypatch.setattr(module, "DENSE_BYTES", 10_000)
    monkeypatch.setattr(journal_new, "PART_BYTES", 3_000)
    journal = compacting(path, 503)
    large = path.stat().st_size
    expected = {n for n in range(503) if n % 3 == 0}
    steps = 0
    while not journal.is_compact:
        gone = [min(expected), max(expected)]
        journal.write([owed(1000 + steps)], gone, 1000 + steps, 1000 + steps)
        expected.difference_update(gone)
        expected.add(1000 + steps)
        steps += 1
        journal.make_compact()
        assert steps < 503, "it comes to an end while alerts come"
    assert steps > 10
    assert path.stat().st_size < large / 2
    for _ in range(2):
        assert [one.n for one in journal.owed()] == sorted(expected)
        assert (journal.last_seq, journal.set_aside) == (999 + steps, 0)
        journal.close()
        journal = Journal(path)
    journal.close()


def test_a_kill_while_it_is_made_small_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DENSE_BYTES", 10_000)
    monkeypatch.setattr(journal_new, "PART_BYTES", 3_000)
    journal = compacting(path, 503)
    kept = path.with_name("kept")
    kept.mkdir()
    for file in path.parent.glob("journal*"):
        shutil.copy(file, kept)
    assert (kept / "journal.new").stat().st_size > 0
    journal.close()
    assert not path.with_name("journal.new").exists()
    again = Journal(kept / "journal")
    assert [one.n for one in again.owed()] == list(range(0, 503, 3))
    again.close()


def test_what_somebody_cuts_off_meanwhile_is_not_taken_for_settled(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The copy is given up, and the next write says what is wrong: the keeper then writes all that is owed anew."""
    monkeypatch.setattr(module, "DENSE_BYTES", 10_000)
    monkeypatch.setattr(journal_new, "PART_BYTES", 3_000)
    journal = compacting(path, 503)
    os.truncate(path, 4_000)
    for _ in range(503):
        journal.make_compact()
    assert not path.with_name("journal.new").exists()
    with pytest.raises(JournalError, match="removed or changed"):
        journal.write([owed(2000)], [], 2000, 2000)
    journal.close()


@needs_mounts
def test_room_that_a_smaller_journal_takes_is_given_back_to_alerts(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk the half-written new journal goes, and the alert is written."""
    path.parent.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", str(path.parent)], check=True)
    try:
        monkeypatch.setattr(module, "DENSE_BYTES", 10_000)
        monkeypatch.setattr(journal_new, "PART_BYTES", 40_000)
        journal = compacting(path, 373)
        number = 1000
        while path.with_name("journal.new").exists():
            journal.write([owed(n) for n in range(number, number + 53)], [], number, number)
            number += 53
        assert number > 1000
        assert [one.n for one in journal.owed()] == [*range(0, 373, 3), *range(1000, number)]
        journal.close()
    finally:
        subprocess.run(["umount", str(path.parent)], check=True)
