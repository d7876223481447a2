# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Files of this user alone: never opened through a link, never another user's, readable by nobody else.

A local user who can write into a folder can put a link, a pipe or a file of his own at our file's name. None of
them is opened, and no file is truncated on opening.
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
    """The file at this name is not a regular file, not this user's, or has a second name."""


class HeldError(OSError):
    """Another process has the lock; `pid` is its number, 0 where it is not known."""

    def __init__(self, path: Path, pid: int) -> None:
        super().__init__(errno.EWOULDBLOCK, f"{path} is held by " + (f"process {pid}" if pid else "another"))
        self.pid = pid


def opened(path: Path, flags: int = 0) -> int:
    """Open the file for reading and writing, and take all rights of other users away, whatever the umask is.

    `flags` are further flags, such as O_CREAT. Raise OSError; NotOursError is one.
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
    """Return the first folder, this one or one above it, in which other users can write; None if there is none.

    A sticky folder above it, such as /tmp, is safe: only the owner of a folder in it can move that.
    """
    real = path.resolve()
    for folder in (real, *real.parents):
        status = folder.stat()
        sticky = folder != real and status.st_mode & stat.S_ISVTX
        if status.st_uid not in {0, os.geteuid()} or (status.st_mode & OTHERS and not sticky):
            return folder
    return None


def locked(path: Path) -> int:
    """Lock the file and return it open; it stays locked until it is closed or this process ends. Its text is our pid.

    Raise HeldError, or another OSError. If the process that has the lock is dying, its end is waited for.
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
    """Lock the file. A file that other users could open is replaced: one who has it open still could lock it."""
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
    """Whether the process runs; a zombie does not."""
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
    """Return the process that holds the lock, from the kernel's list of locks; 0 where that does not name it."""
    inode = os.fstat(file).st_ino
    with open("/proc/locks") as locks:
        for line in locks:
            words = line.split()
            if words[1] == "FLOCK" and words[-3].endswith(f":{inode}"):
                return max(0, int(words[-4]))
    return 0


def _is_ours(pid: int) -> bool:
    """Whether the process is this user's; one that cannot be found counts as this user's, to be safe."""
    try:
        return os.stat(f"/proc/{pid}").st_uid == os.geteuid()
    except OSError:
        return True
