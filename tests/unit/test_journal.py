# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What was written to a journal is there again, in order, whenever the monitor was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sockbpf.delivery.journal import Journal, JournalHeldError
from sockbpf.delivery.journal_lines import (
    owed_line,
)
from tests.unit.journal_files import aside, written
from tests.unit.journals import owed

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal"


def test_what_was_written_is_there_again_in_order(path: Path) -> None:
    journal = Journal(path)
    assert (journal.owed(), journal.last_seq, journal.last_n) == ([], 0, 0)
    journal.write([owed(1), owed(2), owed(3)], [], 7, 3)
    journal.write([owed(4), owed(5)], [2, 5, 99], 8, 5)
    journal.close()
    again = Journal(path)
    assert again.owed() == [owed(1), owed(3), owed(4)]
    assert (again.last_seq, again.last_n, again.set_aside) == (8, 5, 0)
    again.close()


def test_it_can_be_made_anew(path: Path) -> None:
    journal = Journal(path)
    journal.write([owed(1), owed(2)], [], 2, 2)
    journal.replace([owed(2), owed(9)], 9, 9)
    assert journal.owed() == [owed(2), owed(9)]
    journal.write([owed(10)], [2], 10, 10)
    assert journal.owed() == [owed(9), owed(10)]
    journal.close()


def test_a_second_monitor_is_kept_out_until_the_first_is_gone(path: Path) -> None:
    first = Journal(path)
    with pytest.raises(JournalHeldError, match=f"another sockbpf has it, process {os.getpid()}") as refused:
        Journal(path)
    assert refused.value.pid == os.getpid()
    first.close()
    Journal(path).close()


def test_a_write_outlives_a_kill(path: Path) -> None:
    """Each number is printed after it was written; all that were printed are there."""
    program = (
        "import sys; from pathlib import Path; from sockbpf.delivery.journal import Journal\n"
        "from tests.unit.journals import owed\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "for n in range(1, 10**6):\n"
        "    journal.write([owed(n)], [], n, n); print(n, flush=True)\n"
    )
    for _ in range(3):
        with subprocess.Popen(
            [sys.executable, "-c", program, path], cwd=ROOT, stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout
            printed = [int(writer.stdout.readline()) for _ in range(101)]
            writer.send_signal(signal.SIGKILL)
            printed += [int(line) for line in writer.stdout if line.strip()]
        journal = Journal(path)
        numbers = [one.n for one in journal.owed()]
        assert numbers[: len(printed)] == printed
        assert (journal.last_n, journal.set_aside) == (numbers[-1], 0)
        journal.replace([], 0, 0)
        journal.close()


def test_cut_anywhere_as_by_a_kill_it_holds_all_before_the_cut(path: Path) -> None:
    written(path, 5)
    data = path.read_bytes()
    ends = [data.index(owed_line(owed(n))) + len(owed_line(owed(n))) for n in range(5)]
    for length in range(len(data)):
        path.write_bytes(data[:length])
        journal = Journal(path)
        assert len(journal.owed()) == sum(end - 1 <= length for end in ends)
        assert journal.set_aside == 0
        journal.write([owed(2000)], [], 2000, 2000)
        journal.close()
        again = Journal(path)
        assert again.owed()[-1] == owed(2000)
        assert again.set_aside == 0
        again.close()
    assert not aside(path)
