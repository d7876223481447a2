# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The database is the store's user's alone: its modes; no link of anybody leads root or the store elsewhere."""

from __future__ import annotations

import os
import pwd
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sockbpf.store.data.files import FilesError, give_away
from tests.live.waiting import DEADLINE_S
from tests.store.conftest import StartStore
from tests.store.serving import Store, find, start_store, tell, told

NOBODY = pwd.getpwnam("nobody")
HOSTILE = pwd.getpwnam("daemon")


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder that everybody can walk through."""
    with TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def owner(path: Path) -> int:
    return path.lstat().st_uid


@pytest.mark.parametrize("user", ["nobody", "root"])
def test_all_files_are_private_from_their_first_byte(start: StartStore, folder: Path, user: str) -> None:
    kept = folder / "kept"
    seen: dict[str, set[int]] = {}
    ended = threading.Event()

    def watch() -> None:
        while not ended.is_set():
            with suppress(OSError):
                for entry in os.scandir(kept):
                    seen.setdefault(entry.name, set()).add(stat.S_IMODE(entry.stat().st_mode))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        store = start(f"sqlite:///{kept}/alerts.sqlite", user=user)
        assert tell(store, **told(1)).ok
        assert find(store)
        names = {file.name for file in kept.iterdir()}
        assert {"alerts.sqlite", "alerts.sqlite-wal", "alerts.sqlite-shm"} <= names
        assert {mode(file) for file in kept.iterdir()} == {0o600}
        assert mode(kept) == 0o700
        assert {owner(kept), *(owner(file) for file in kept.iterdir())} == {pwd.getpwnam(user).pw_uid}
        assert store.stop() == 0
    finally:
        ended.set()
        watcher.join()
    assert all(modes == {0o600} for modes in seen.values()), seen
    with pytest.raises(PermissionError):
        as_user(HOSTILE, (kept / "alerts.sqlite").read_bytes)


def as_user(user: pwd.struct_passwd, what: Callable[[], object]) -> None:
    """Call something as this user."""
    os.setegid(user.pw_gid)
    os.seteuid(user.pw_uid)
    try:
        what()
    finally:
        os.seteuid(0)
        os.setegid(0)


def test_what_was_wide_is_tightened(start: StartStore, folder: Path) -> None:
    kept = folder / "kept"
    database = f"sqlite:///{kept}/alerts.sqlite"
    first = start(database, user="nobody")
    assert tell(first, **told(1)).ok
    first.process.kill()
    first.process.wait()
    kept.chmod(0o755)
    for file in kept.iterdir():  # as an older store, run by root, left them
        file.chmod(0o644)
        os.chown(file, 0, 0)
    again = start(database, user="nobody")
    assert len(find(again)) == 1
    assert {mode(file) for file in kept.iterdir()} == {0o600}
    assert mode(kept) == 0o700
    assert {owner(kept), *(owner(file) for file in kept.iterdir())} == {NOBODY.pw_uid}


def refused(folder: Path, database: Path, **settings: str) -> str:
    store: Store = start_store(folder / "config", f"sqlite:///{database}", healthy=False, **settings)
    assert store.process.wait(30) == 1, store.log()
    assert "Traceback" not in store.log()
    assert "store > database" in store.log()
    return store.log()


def test_no_link_leads_elsewhere(folder: Path) -> None:
    victim = folder / "victim"
    victim.mkdir(mode=0o755)
    (folder / "config").mkdir()
    precious = folder / "precious"
    precious.write_text("precious")
    kept = folder / "kept"
    kept.mkdir()
    os.chown(kept, NOBODY.pw_uid, NOBODY.pw_gid)
    for side in ("", "-wal", "-shm", "-journal"):
        planted = kept / f"alerts.sqlite{side}"
        for plant in (planted.symlink_to, planted.hardlink_to):
            for target in (precious, folder / "config" / "not-there"):
                with suppress(FileNotFoundError):
                    plant(target)
                    assert str(planted) in refused(folder, kept / "alerts.sqlite", user="nobody")
                    planted.unlink()
    (kept / "alerts.sqlite").mkdir()
    refused(folder, kept / "alerts.sqlite", user="nobody")
    os.rmdir(kept / "alerts.sqlite")
    os.mkfifo(kept / "alerts.sqlite")
    refused(folder, kept / "alerts.sqlite", user="nobody")

    shared = folder / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    as_user(HOSTILE, lambda: (shared / "store").symlink_to(victim))
    assert "a link of another user" in refused(folder, shared / "store/alerts.sqlite", user="nobody")
    assert "a link of another user" in refused(folder, shared / "store/deeper/alerts.sqlite", user="nobody")
    assert "others may write" in refused(folder, shared / "alerts.sqlite", user="nobody")
    as_user(HOSTILE, (shared / "theirs").mkdir)
    assert "another user's" in refused(folder, shared / "theirs/new/alerts.sqlite", user="nobody")
    shared.chmod(0o777)
    assert "others may write" in refused(folder, shared / "new/alerts.sqlite", user="nobody")
    assert precious.read_text() == "precious"
    assert not (folder / "config/not-there").exists()
    assert {owner(path) for path in (victim, precious, folder / "config")} == {0}
    assert list(victim.iterdir()) == []


def test_links_of_root_are_followed(start: StartStore, folder: Path) -> None:
    """As an administrator moves a folder to a larger disk."""
    (folder / "large").mkdir()
    (folder / "var").symlink_to("large")
    store = start(f"sqlite:///{folder}/var/kept/alerts.sqlite", user="nobody")
    assert tell(store, **told(1)).ok
    assert owner(folder / "large/kept/alerts.sqlite") == NOBODY.pw_uid
    assert owner(folder / "large") == 0


SWAPS = """
import os, sys
kept, victim = sys.argv[1:]
name = kept + "/alerts.sqlite"
while True:
    for act in (lambda: os.unlink(name), lambda: os.symlink(victim, name), lambda: os.unlink(name),
                lambda: open(name, "x").close(), lambda: os.rename(name, name + "-wal"),
                lambda: os.symlink(victim, name + "-shm"), lambda: os.unlink(name + "-shm"),
                lambda: os.link(victim, name), lambda: os.unlink(name + "-wal")):
        try:
            act()
        except OSError:
            pass
"""


def test_whoever_swaps_files_meanwhile_gets_nothing(folder: Path) -> None:
    """Whoever shares the store's user swaps its files all the while that root gives them away."""
    kept, victim = folder / "kept", folder / "victim"
    victim.write_text("precious")
    victim.chmod(0o600)
    kept.mkdir()
    os.chown(kept, NOBODY.pw_uid, NOBODY.pw_gid)
    command = ["/usr/bin/python3", "-c", SWAPS, str(kept), str(victim)]
    swapping = subprocess.Popen(command, user=NOBODY.pw_uid, group=NOBODY.pw_gid, extra_groups=[])
    came = {"given": 0, "refused": 0}
    try:
        ends_s = time.monotonic() + DEADLINE_S
        while sum(came.values()) < 3000 or (not came["refused"] and time.monotonic() < ends_s):
            try:
                give_away(kept / "alerts.sqlite", NOBODY)
                came["given"] += 1
            except FilesError:
                came["refused"] += 1
            assert owner(victim) == 0
            assert mode(victim) == 0o600
    finally:
        swapping.kill()
        swapping.wait()
    print(came)
    assert min(came.values()) > 0, came
