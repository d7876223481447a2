# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What was written is there after any end, and whatever lies in its place never keeps the monitor from starting."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from types import SimpleNamespace

import pytest

from sockbpf.delivery import journal as module
from sockbpf.delivery.journal import Journal, JournalError, JournalHeldError
from sockbpf.delivery.journal_lines import (
    FILE,
    OWED,
    first_line,
    gone_lines,
    last_line,
    line,
    owed_line,
    read,
)
from sockbpf.delivery.owed import MAX_BODY, Owed
from tests.unit.journals import EDITION1, body, owed

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal"


def written(path: Path, number: int) -> None:
    journal = Journal(path)
    journal.write([owed(n) for n in range(number)], [], number, number)
    journal.close()


def aside(path: Path) -> list[Path]:
    return sorted(path.parent.glob("*.unreadable-*"))


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


def test_it_stays_small_while_alerts_come_and_go(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DENSE_BYTES", 10_000)
    journal = Journal(path)
    staying = [owed(n) for n in range(1, 18)]
    journal.write(staying, [], 17, 17)
    for n in range(18, 2018):
        journal.write([owed(n)], [n - 1] if n > 18 else [], n, n)
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
        journal.write([owed(n)], [n - 1], n, n)
    assert journal.owed() == [owed(101)]
    assert path.stat().st_size > 10_000
    path.with_name("journal.new").rmdir()
    journal.write([owed(102)], [101], 102, 102)
    for n in range(103, 150):
        journal.write([owed(n)], [n - 1], n, n)
    assert path.stat().st_size < 10_000
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


@pytest.mark.parametrize(
    "content",
    [b"", b"\0" * 5000, b"not a journal\n" * 100, os.urandom(8192), b"SQLite format 3\0" + os.urandom(9000)],
    ids=["empty", "zeros", "text", "noise", "database"],
)
def test_something_else_in_its_place_is_set_aside_once(
    path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    for _ in range(3):
        journal = Journal(path)
        assert journal.owed() == []
        journal.write([], [], journal.last_seq + 1, 1)
        journal.close()
    assert [file.read_bytes() for file in aside(path)] == ([content] if content else [])
    assert caplog.text.count("set aside as") == bool(content)


def test_senseless_files_are_bounded(path: Path) -> None:
    path.parent.mkdir()
    for n in range(23):
        path.write_bytes(b"noise of a hundred bytes or more " * 5 + b"%d" % n)
        Journal(path).close()
    assert [file.read_bytes() for file in aside(path)] == [
        b"noise of a hundred bytes or more " * 5 + b"%d" % n for n in range(15, 23)
    ]


def test_another_edition_is_set_aside_whole(path: Path) -> None:
    path.parent.mkdir()
    newer = line(FILE, b'{"journal":"sockbpf","edition":3}') + owed_line(owed(1))
    path.write_bytes(newer)
    journal = Journal(path)
    assert (journal.owed(), journal.set_aside) == ([], 1)
    journal.close()
    assert [file.read_bytes() for file in aside(path)] == [newer]


BODIES = {
    "no JSON": "ts=1",
    "no object": '["timestamp","event","id","seq"]',
    "no timestamp": '{"event":"exceeded","id":"7","seq":"7"}',
    "a number": body(7).replace('"7"', "7"),
    "seq": body(7, seq="seven"),
    "large seq": body(7, seq="9" * 30),
    "half a surrogate pair": body(7, comm="\ud800"),
    "no time": body(7, timestamp="nan"),
    "deep": "[" * 20_000,
    "large": body(7, comm="x" * MAX_BODY),
    "not Unicode": "\udcff",
}


@pytest.mark.parametrize("text", BODIES.values(), ids=BODIES.keys())
def test_a_row_that_is_no_alert_is_set_aside_by_itself(
    path: Path, text: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Its checksum fits: whoever wrote it, nothing that cannot be sent gets out of the journal."""
    written(path, 7)
    head = b'{"n":7,"destination":"http","episode":"7","made_s":1.5}\t'
    bad = line(OWED, head + text.encode(errors="surrogateescape"))
    path.write_bytes(path.read_bytes() + bad + owed_line(owed(8)))
    for _ in range(2):
        journal = Journal(path)
        assert journal.owed() == [*(owed(n) for n in range(7)), owed(8)]
        assert journal.last_seq >= 8
        journal.close()
    assert caplog.text.count("set aside 1 of its alerts") == 1
    assert text.encode(errors="surrogateescape") in path.with_name("journal.set-aside").read_bytes()


@pytest.mark.parametrize(
    "head",
    [
        b"{}",
        b"[]",
        b'{"n":"7","destination":"http","episode":"7","made_s":1.5}',
        b"7" * 5000,
        b"[" * 20_000,
        b'{"n":7,"destination":null,"episode":"7","made_s":1.5}',
        b'{"n":-1,"destination":"h","episode":"","made_s":1.5}',
    ],
)
def test_a_row_whose_head_makes_no_sense_is_set_aside_by_itself(path: Path, head: bytes) -> None:
    written(path, 7)
    path.write_bytes(path.read_bytes() + line(OWED, head + b"\t" + body(7).encode()))
    journal = Journal(path)
    assert ([one.n for one in journal.owed()], journal.set_aside) == (list(range(7)), 1)
    journal.close()


def test_what_a_later_version_keeps_besides_is_borne(path: Path) -> None:
    path.parent.mkdir()
    head = b'{"n":7,"destination":"http","episode":"7","made_s":17.5,"further":"x"}\t'
    path.write_bytes(first_line() + last_line(7, 7) + line(OWED, head + body(7).encode()))
    journal = Journal(path)
    assert journal.owed() == [owed(7)]
    journal.close()


def test_what_is_set_aside_is_bounded(
    path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "ASIDE_BYTES", 3000)
    for n in range(23):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(first_line() + last_line(n, n) + b"x" * 500 + b"\n" + owed_line(owed(n)))
        journal = Journal(path)
        assert journal.owed() == [owed(n)]
        journal.close()
    assert 2000 < path.with_name("journal.set-aside").stat().st_size <= 3100
    assert "is full" in caplog.text


def test_a_name_cannot_forge_a_line(path: Path) -> None:
    forged = owed_line(owed(99)).decode()
    journal = Journal(path)
    journal.write([Owed(1, "http", "1", 1.5, body(1, comm=forged))], [], 1, 1)
    journal.close()
    data = path.read_bytes()
    place = data.index(b'"comm"')
    path.write_bytes(data[: place - 1] + b"!" + data[place:])
    journal = Journal(path)
    assert (journal.owed(), journal.set_aside) == ([], 1)
    journal.close()


def test_numbers_do_not_run_backward(path: Path) -> None:
    """Also where the lines that told the last ones are damaged, or only what is gone tells them."""
    lines = [first_line(), last_line(50, 60), owed_line(owed(70)), *gone_lines([80])]
    assert (read(b"".join(lines)).last_seq, read(b"".join(lines)).last_n) == (70, 80)
    written(path, 31)
    path.write_bytes(path.read_bytes().replace(last_line(31, 31), b"?" * len(last_line(31, 31))))
    journal = Journal(path)
    assert journal.last_seq > 10**12
    assert journal.last_n >= 30
    journal.close()


# the edition before


def edition1(path: Path, numbers: range, *, killed: bool = False) -> None:
    """Write a journal as the edition before did; `killed` leaves its log beside it."""
    path.parent.mkdir(exist_ok=True)
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("pragma journal_mode = wal")
        connection.executescript(EDITION1)
        if killed:
            connection.execute("pragma wal_checkpoint(truncate)")
        rows = [(n, "http", f"{n:x}", 10.5 + n, body(n)) for n in numbers]
        connection.executemany("insert into owed values (?, ?, ?, ?, ?)", rows)
        connection.execute("update last set seq = ?, n = ?", (numbers.stop + 100, numbers.stop + 200))
        files = {side: Path(f"{path}{side}").read_bytes() for side in ("", "-wal")}
    if killed:
        for side, data in files.items():
            Path(f"{path}{side}").write_bytes(data)


@pytest.mark.parametrize("killed", [False, True])
@pytest.mark.parametrize("name", ["journal", "journal.sqlite"])
def test_the_edition_before_is_moved_on(path: Path, name: str, *, killed: bool) -> None:
    edition1(path.with_name(name), range(1, 212), killed=killed)
    os.chmod(path.with_name(name), 0o640)
    for _ in range(2):
        journal = Journal(path)
        assert journal.owed() == [owed(n) for n in range(1, 212)]
        assert (journal.last_seq, journal.last_n, journal.set_aside) == (312, 412, 0)
        journal.close()
    assert {file.name for file in path.parent.iterdir()} == {"journal", "journal.lock"}


def test_rows_of_the_edition_before_that_are_no_alerts_are_set_aside_by_themselves(path: Path) -> None:
    edition1(path, range(1, 12))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("update owed set body = 'no JSON' where n = 3")
        connection.execute("update owed set body = cast(x'ff' as text) where n = 5")
        connection.execute("update owed set destination = cast(x'ff' as text) where n = 7")
    journal = Journal(path)
    assert journal.owed() == [owed(n) for n in range(1, 12) if n not in {3, 5, 7}]
    assert journal.set_aside == 3
    journal.close()


def test_a_damaged_one_of_the_edition_before_gives_what_can_be_read(path: Path) -> None:
    edition1(path, range(1, 212))
    data = bytearray(path.read_bytes())
    place = data.index(body(101).encode()) // 4096 * 4096
    data[place : place + 4096] = bytes(4096)
    path.write_bytes(data)
    journal = Journal(path)
    found = journal.owed()
    assert 150 < len(found) < 211
    assert found == [owed(one.n) for one in found]
    assert journal.set_aside >= 1
    journal.close()
    assert aside(path)


# other users, other rights


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o777])
def test_nobody_else_can_read_or_lock_it(path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        edition1(path.with_name("journal.sqlite"), range(1, 4)) if umask != 0o777 else None
        written(path, 3)
        data = path.read_bytes().replace(b"id", b"di")
        path.write_bytes(data)
        Journal(path).close()
    finally:
        os.umask(before)
    assert len(list(path.parent.iterdir())) == 3
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600, file
    if umask == 0o777:
        assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0


def test_what_an_earlier_version_left_open_is_closed(path: Path) -> None:
    written(path, 3)
    path.chmod(0o640)
    lock = path.with_name("journal.lock")
    lock.chmod(0o644)
    Journal(path).close()
    assert [stat.S_IMODE(file.stat().st_mode) for file in (path, lock)] == [0o600, 0o600]


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="it takes root to be somebody else")
HOLD = "import fcntl, sys; f = open(sys.argv[1]); fcntl.flock(f, fcntl.LOCK_EX); print('held', flush=True); input()"


@needs_root
def test_nobody_turns_it_off_by_a_lock(path: Path) -> None:
    """He has the lock file open from a time when he could open it, and locks it."""
    written(path, 3)
    lock = path.with_name("journal.lock")
    lock.chmod(0o644)
    for folder in path.parents:
        if not folder.stat().st_mode & stat.S_IXOTH:
            folder.chmod(0o755)
    user = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]
    with subprocess.Popen(
        [*user, "/usr/bin/python3", "-c", HOLD, lock],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as holder:
        assert holder.stdout
        assert holder.stdout.readline() == "held\n"
        journal = Journal(path)
        assert len(journal.owed()) == 3
        with pytest.raises(JournalHeldError):
            Journal(path)
        refused = subprocess.run(
            [*user, "/usr/bin/python3", "-c", HOLD, lock], check=False, capture_output=True
        )
        assert b"PermissionError" in refused.stderr
        journal.close()
        holder.kill()


@needs_root
@pytest.mark.parametrize("name", ["journal", "journal.lock", "journal.new", "journal.set-aside"])
def test_a_planted_link_is_not_followed(path: Path, name: str, caplog: pytest.LogCaptureFixture) -> None:
    victim = path.parent.parent / "victim"
    victim.write_text("precious")
    victim.chmod(0o644)
    path.parent.mkdir()
    path.parent.chmod(0o777)
    plants: list[Callable[[Path], object]] = [
        lambda at: at.symlink_to(victim),
        lambda at: os.link(victim, at),
        os.mkfifo,
        lambda at: at.write_text("his own"),
    ]
    for plant in plants:
        at = path.with_name(name)
        at.unlink(missing_ok=True)
        if name == "journal.set-aside":
            path.write_bytes(first_line() + last_line(1, 1) + b"damage\n" + owed_line(owed(1)))
        plant(at)
        os.chown(
            at, 65534, 65534, follow_symlinks=False
        ) if at.is_symlink() or at.stat().st_nlink == 1 else None
        journal = Journal(path)
        journal.write([owed(5)], [], 5, 5)
        assert owed(5) in journal.owed()
        journal.close()
        assert victim.read_text() == "precious"
        assert stat.S_IMODE(victim.stat().st_mode) == 0o644
    assert f"others can write into {path.parent}" in caplog.text


def test_our_own_link_is_an_error_with_its_name(path: Path, tmp_path: Path) -> None:
    path.parent.mkdir()
    path.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(JournalError, match=r"state/journal is a symbolic link"):
        Journal(path)
    assert not (tmp_path / "elsewhere").exists()


# the disk


def test_a_folder_in_its_place_is_an_error_with_its_name(path: Path) -> None:
    path.mkdir(parents=True)
    with pytest.raises(JournalError, match=r"state/journal: Is a directory"):
        Journal(path)


def test_a_file_where_its_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("")
    with pytest.raises(JournalError, match=r"state/journal: Not a directory"):
        Journal(tmp_path / "state" / "journal")


@pytest.mark.parametrize("change", ["removed", "longer", "shorter"])
def test_a_file_that_somebody_changed_is_not_written(path: Path, change: str) -> None:
    journal = Journal(path)
    journal.write([owed(1)], [], 1, 1)
    if change == "removed":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes() + b"more" if change == "longer" else b"")
    with pytest.raises(JournalError, match="removed or changed"):
        journal.write([owed(2)], [], 2, 2)
    journal.close()


@pytest.mark.parametrize("call", ["write", "pwrite", "pread", "fdatasync", "fsync", "rename"])
@pytest.mark.parametrize("number", [5, 28, 30, 16], ids=["EIO", "ENOSPC", "EROFS", "EBUSY"])
def test_a_fault_of_the_disk_is_an_error_and_changes_nothing(
    path: Path, monkeypatch: pytest.MonkeyPatch, call: str, number: int
) -> None:
    """At each call that touches it, on opening, writing and making it anew."""
    written(path, 5)
    path.write_bytes(path.read_bytes().replace(b'"seq":"3"', b'"seq":"8"'))
    data = path.read_bytes()

    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    broken = SimpleNamespace(**{name: getattr(os, name) for name in dir(os)} | {call: fail})
    monkeypatch.setattr(module, "os", broken)
    journal = None
    with pytest.raises(JournalError, match=os.strerror(number)):  # noqa: PT012, on opening or on writing
        journal = Journal(path)
        journal.write([owed(9)], [], 9, 9)
    if journal:
        assert call in {"pwrite", "fdatasync"}
        journal.close()
    else:
        assert path.read_bytes() == data
    monkeypatch.undo()
    journal = Journal(path)
    assert [one.n for one in journal.owed()] == [0, 1, 2, 4]
    journal.close()
    assert not path.with_name("journal.new").exists()


needs_mounts = pytest.mark.skipif(
    os.geteuid() != 0 or not shutil.which("mount"), reason="mounting needs root"
)


@needs_mounts
def test_a_full_disk_is_said_and_what_was_written_stays(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    try:
        journal = Journal(disk / "journal")
        written_n = 0
        with pytest.raises(JournalError, match="No space left"):  # noqa: PT012, it is reached at some time
            for n in range(10**6):
                journal.write([owed(n)], [], n, n)
                written_n += 1
        assert len(journal.owed()) == written_n
        assert written_n > 100
        journal.close()
    finally:
        subprocess.run(["umount", disk], check=True)


@needs_mounts
def test_a_disk_that_cannot_be_written_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", disk], check=True)
    caplog.set_level(logging.WARNING)
    try:
        Journal(disk / "journal").close()
        subprocess.run(["mount", "-o", "remount,ro", disk], check=True)
        with pytest.raises(JournalError, match="Read-only"):
            Journal(disk / "journal")
    finally:
        subprocess.run(["umount", disk], check=True)
