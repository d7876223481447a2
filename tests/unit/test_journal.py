"""What was written is there after any end, and whatever lies in its place never keeps the monitor from starting."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from sockbpf.delivery.journal import Journal, JournalError
from sockbpf.delivery.owed import Owed

ROOT = Path(__file__).parents[2]


def owed(n: int) -> Owed:
    return Owed(n, "http", f"episode {n}", 10.5 + n, f'{{"id":"{n}"}}')


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal.sqlite"


def test_what_was_written_is_there_again_in_order(path: Path) -> None:
    journal = Journal(path)
    assert (journal.owed(), journal.last_seq, journal.last_n) == ([], 0, 0)
    journal.write([owed(1), owed(2), owed(3)], [], 7, 3)
    journal.write([owed(4)], [2], 8, 4)
    journal.close()
    again = Journal(path)
    assert again.owed() == [owed(1), owed(3), owed(4)]
    assert (again.last_seq, again.last_n) == (8, 4)
    again.close()


def test_it_can_be_made_anew(path: Path) -> None:
    journal = Journal(path)
    journal.write([owed(1), owed(2)], [], 2, 2)
    journal.replace([owed(2), owed(9)], 9, 9)
    assert journal.owed() == [owed(2), owed(9)]
    journal.close()


def test_nobody_else_can_read_it(path: Path) -> None:
    Journal(path).close()
    assert path.stat().st_mode & 0o027 == 0


def test_a_second_monitor_is_kept_out_until_the_first_is_gone(path: Path) -> None:
    first = Journal(path)
    with pytest.raises(JournalError, match="another sockbpf has it"):
        Journal(path)
    first.close()
    Journal(path).close()


def test_a_commit_outlives_a_kill(path: Path) -> None:
    """Each number is printed after its commit; all that were printed are there."""
    program = (
        "import sys; from pathlib import Path; from sockbpf.delivery.journal import Journal; "
        "from sockbpf.delivery.owed import Owed\n"
        "journal = Journal(Path(sys.argv[1]))\n"
        "for n in range(1, 10**6):\n"
        "    journal.write([Owed(n, 'http', 'e', 0.0, '{}')], [], n, n); print(n, flush=True)\n"
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
        assert journal.last_n == numbers[-1]
        journal.replace([], 0, 0)
        journal.close()


def written(path: Path, number: int) -> None:
    journal = Journal(path)
    journal.write([owed(n) for n in range(number)], [], number, number)
    journal.close()


def test_a_torn_file_is_set_aside_or_read_but_never_in_the_way(path: Path) -> None:
    """Cut at every 512th byte: what opens is true, what does not is kept under another name."""
    written(path, 101)
    whole = path.read_bytes()
    all_owed = [owed(n) for n in range(101)]
    aside = 0
    for length in range(0, len(whole), 512):
        for left in path.parent.iterdir():
            left.unlink()
        path.write_bytes(whole[:length])
        journal = Journal(path)
        assert journal.owed() in ([], all_owed)
        journal.write([owed(2000)], [], 1, 2000)
        journal.close()
        kept = [file for file in path.parent.iterdir() if "unreadable" in file.name]
        aside += bool(kept)
        assert not kept or kept[0].read_bytes() == whole[:length]
    assert aside > len(whole) // 512 // 2


def test_a_torn_log_loses_only_its_end(path: Path) -> None:
    journal = Journal(path)
    for n in range(31):
        journal.write([owed(n)], [], n, n)
    files = {side: Path(f"{path}{side}").read_bytes() for side in ("", "-wal")}  # as a kill leaves them
    journal.close()
    all_owed = [owed(n) for n in range(31)]
    for length in range(0, len(files["-wal"]), 512):
        for left in path.parent.iterdir():
            left.unlink()
        path.write_bytes(files[""])
        Path(f"{path}-wal").write_bytes(files["-wal"][:length])
        journal = Journal(path)
        found = journal.owed()
        assert found == all_owed[: len(found)]
        journal.close()
    assert len(found) >= 29


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 5000, b"not a database\n" * 100, os.urandom(8192)],
    ids=["empty", "zeros", "text", "noise"],
)
def test_something_else_in_its_place_is_set_aside(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    journal = Journal(path)
    assert journal.owed() == []
    journal.close()
    kept = [file.read_bytes() for file in path.parent.iterdir() if "unreadable" in file.name]
    assert kept == ([content] if content else [])
    assert not content or "set aside" in caplog.text


@pytest.mark.parametrize(
    "tables",
    [
        "pragma user_version = 99",
        "create table owed (x); pragma user_version = 1",
        "create table last (seq, n); pragma user_version = 1",
    ],
)
def test_tables_of_others_are_set_aside(path: Path, tables: str) -> None:
    path.parent.mkdir()
    connection = sqlite3.connect(path)
    connection.executescript(tables)
    connection.close()
    journal = Journal(path)
    journal.write([owed(1)], [], 1, 1)
    assert journal.owed() == [owed(1)]
    journal.close()
    assert any("unreadable" in file.name for file in path.parent.iterdir())


def test_a_folder_in_its_place_is_an_error_with_its_name(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(JournalError, match=r"journal\.sqlite"):
        Journal(path)


def test_a_file_where_its_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(JournalError, match=r"state/journal\.sqlite"):
        Journal(tmp_path / "state" / "journal.sqlite")


needs_mounts = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("mount"), reason="mounting needs root"
)


@needs_mounts
def test_a_full_disk_is_said_and_what_was_written_stays(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    try:
        journal = Journal(disk / "journal.sqlite")
        written_n = 0
        with pytest.raises(JournalError, match="full"):  # noqa: PT012, it is reached at some time
            for n in range(10**6):
                journal.write([owed(n)], [], n, n)
                written_n += 1
        assert len(journal.owed()) == written_n
        assert written_n > 100
        journal.close()
    finally:
        subprocess.run(["umount", disk], check=True)


@needs_mounts
def test_a_disk_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    try:
        Journal(disk / "journal.sqlite").close()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(JournalError, match="Read-only"):
            Journal(disk / "journal.sqlite")
    finally:
        subprocess.run(["umount", disk], check=True)
