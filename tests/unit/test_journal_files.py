# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Other users, links and folders in its place, and disks in trouble: nobody else reads, locks or moves a journal."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from sockbpf.delivery import journal as journal_module
from sockbpf.delivery import journal_aside, journal_file, journal_new
from sockbpf.delivery.journal import Journal, JournalError, JournalHeldError
from sockbpf.delivery.journal_lines import (
    first_line,
    last_line,
    owed_line,
)
from tests.unit.journal_files import edition1, written
from tests.unit.journals import owed


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "journal"


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
    for module in (journal_module, journal_aside, journal_file, journal_new):
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
