# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Files that are this process's own: never through a link, never another user's, readable by nobody else.

A local user who may write into a folder can put a link, a pipe or a file of his own where ours is to be. None of
them is opened; nothing is ever truncated on opening.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

MODE = 0o600
FOLDER_MODE = 0o700
FLAGS = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
OTHERS = stat.S_IWGRP | stat.S_IWOTH
PID_BYTES = 16
DYING_S = 2.0


class NotOursError(OSError):
    """What is there is no regular file of this user under this one name."""


class HeldError(OSError):
    """Another process has the lock; `pid` is its number, 0 where it is not known."""

    def __init__(self, path: Path, pid: int) -> None:
        super().__init__(errno.EWOULDBLOCK, f"{path} is held by " + (f"process {pid}" if pid else "another"))
        self.pid = pid


def opened(path: Path, flags: int = 0) -> int:
    """Open the file for reading and writing, whatever the umask is, and take rights of others away.

    `flags` are O_CREAT and such. Raise OSError, NotOursError among them.
    """
    try:
        file = os.open(path, FLAGS | flags, MODE)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise NotOursError(errno.ELOOP, f"{path} is a symbolic link, which is not followed") from None
        raise
    try:
        _make_private(file, path)
    except BaseException:
        os.close(file)
        raise
    return file


def _make_private(file: int, path: Path) -> None:
    status = os.fstat(file)
    if not stat.S_ISREG(status.st_mode):
        raise NotOursError(errno.EINVAL, f"{path} is not a regular file")
    if status.st_uid != os.geteuid() or status.st_nlink > 1:
        raise NotOursError(errno.EPERM, f"{path} is another user's, or has a second name")
    if stat.S_IMODE(status.st_mode) != MODE:
        os.fchmod(file, MODE)


def make_folder(path: Path) -> None:
    """Make the folder and those above it that are missing, for this user alone. Raise OSError."""
    if not path.is_dir():
        make_folder(path.parent)
        os.mkdir(path, FOLDER_MODE)


def unsafe_folder(path: Path) -> Path | None:
    """Return the folder, this one or one above it, in which others could put what they like; None if there is none.

    Above it a sticky one, such as /tmp, is safe: what is there can only be moved by its owner.
    """
    real = path.resolve()
    for folder in (real, *real.parents):
        status = folder.stat()
        sticky = folder != real and status.st_mode & stat.S_ISVTX
        if status.st_uid not in {0, os.geteuid()} or (status.st_mode & OTHERS and not sticky):
            return folder
    return None


def locked(path: Path) -> int:
    """Return an open file that keeps others out until it is closed or its process is gone; its text is our pid.

    Raise HeldError, or another OSError. One that is dying is waited for, a moment.
    """
    end_s = time.monotonic() + DYING_S
    while True:
        try:
            return _locked_now(path)
        except HeldError as error:
            if _lives(error.pid) or time.monotonic() > end_s:
                raise
        time.sleep(0.01)


def _locked_now(path: Path) -> int:
    """Lock the file. One that others could once open is not trusted: who has it open still could lock it."""
    loose = _is_loose(path)
    file = opened(path, os.O_CREAT)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not loose or _is_ours(_holder(file)):
                raise HeldError(path, _holder(file) or _pid_in(file)) from None
        if loose:
            os.unlink(path)
            fresh = opened(path, os.O_CREAT | os.O_EXCL)
            os.close(file)
            file = fresh
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.pwrite(file, f"{os.getpid()}\n".encode().ljust(PID_BYTES), 0)
    except BaseException:
        os.close(file)
        raise
    return file


def _lives(pid: int) -> bool:
    """Whether the process is there, and more than the word of its end."""
    if not pid:
        return True
    try:
        with open(f"/proc/{pid}/stat", "rb") as stat_file:
            return stat_file.read().rpartition(b")")[2].split()[0] not in {b"Z", b"X"}
    except OSError:
        return False


def _is_loose(path: Path) -> bool:
    try:
        return bool(path.lstat().st_mode & 0o066)
    except OSError:
        return False


def _pid_in(file: int) -> int:
    text = os.pread(file, PID_BYTES, 0).strip()
    return int(text) if text.isdigit() else 0


def _holder(file: int) -> int:
    """Return the process that holds the lock by the kernel's own list; 0 where it does not say."""
    inode = os.fstat(file).st_ino
    with open("/proc/locks") as locks:
        for line in locks:
            words = line.split()
            if words[1] == "FLOCK" and words[-3].endswith(f":{inode}"):
                return max(0, int(words[-4]))
    return 0


def _is_ours(pid: int) -> bool:
    """Whether the process is this user's, or not to be found: then it had better be taken for one."""
    try:
        return os.stat(f"/proc/{pid}").st_uid == os.geteuid()
    except OSError:
        return True
