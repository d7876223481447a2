# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""SQLite's files and their folder: they belong to the store's user, nobody else reads them, no link leads elsewhere.

Root makes the folder and gives it to the store's user, who makes the files in it. Every change goes through the
descriptor of what was checked, so that a file which somebody puts in its place meanwhile is never touched.
"""

from __future__ import annotations

import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sockbpf.errors import SockbpfError

if TYPE_CHECKING:
    import pwd
    from collections.abc import Iterator

SIDES = ("", "-wal", "-shm", "-journal")
"""What SQLite appends to the name of the database for each of its files."""
FOLDER_MODE, FILE_MODE = 0o700, 0o600
MOST_LINKS = 40
"""So many symbolic links may be on the way to the folder, as in Linux itself."""
LOOK = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
ROOT = 0


class FilesError(SockbpfError):
    """The files of the database cannot be used safely; the text says which and why."""


def give_away(path: Path, user: pwd.struct_passwd, before: frozenset[int] = frozenset()) -> None:
    """Make the folder of the database if it is missing; give it and the files to `user`. To be called by root.

    Given away is only what belongs to root or to one of the users `before`. Raise FilesError if another user could
    make this reach other files.
    """
    givers = {ROOT, *before}
    with _folder(path, frozenset({ROOT, user.pw_uid}), {ROOT, user.pw_gid}, last=before) as folder:
        for side in SIDES:
            with _file(folder, path, side) as file:
                if file is not None and os.fstat(file).st_uid in givers:
                    os.fchown(file, user.pw_uid, user.pw_gid)
        if os.fstat(folder).st_uid in givers and _is_ours_alone(folder, path):
            os.fchown(folder, user.pw_uid, user.pw_gid)


def keep_private(path: Path) -> None:
    """Make folder and database if they are missing; take from other users any right to read or write them.

    To be called by the store's user, before SQLite opens the files, since closing a file drops SQLite's locks. Raise
    FilesError if a file belongs to somebody else.
    """
    me = os.geteuid()
    with _folder(path, frozenset({ROOT, me}), {ROOT, os.getegid()}) as folder:
        for side in SIDES:
            with _file(folder, path, side) as file:
                if file is None:
                    continue
                found = os.fstat(file)
                if found.st_uid != me:
                    raise _refused(f"{path}{side}", "it is another user's")
                if stat.S_IMODE(found.st_mode) != FILE_MODE:
                    os.fchmod(file, FILE_MODE)
        with suppress(FileExistsError):
            os.close(os.open(path.name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, FILE_MODE, dir_fd=folder))
        found = os.fstat(folder)
        if found.st_uid == me and stat.S_IMODE(found.st_mode) & ~FOLDER_MODE and _is_ours_alone(folder, path):
            os.fchmod(folder, FOLDER_MODE)


@contextmanager
def _folder(
    path: Path, owners: frozenset[int], groups: set[int], last: frozenset[int] = frozenset()
) -> Iterator[int]:
    """Open the folder of this file, one folder of its path after the other; make those that are missing.

    Only `owners` and `groups` may be able to change where the path leads, by a link or by writing into a folder on
    it. The last folder may also belong to one of the users `last`.
    """
    at = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    done, links = Path("/"), 0
    try:
        steps = list(path.parent.parts[1:])
        while steps:
            name = steps.pop(0)
            _check_folder(at, done, owners, groups, is_last=False)
            after = _step(at, name)
            found = os.fstat(after)
            if stat.S_ISLNK(found.st_mode):
                links += 1
                target = os.readlink("", dir_fd=after)
                os.close(after)
                if found.st_uid not in owners or links > MOST_LINKS:
                    raise _refused(done / name, "a link of another user leads on from there")
                if target.startswith("/"):
                    os.close(at)
                    at = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                    done = Path("/")
                steps[:0] = [part for part in target.split("/") if part not in {"", "."}]
                continue
            os.close(at)
            at, done = after, done / name
        _check_folder(at, done, owners | last, groups, is_last=True)
        folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at)
    except OSError as error:
        raise _refused(path.parent, error.strerror or "it cannot be had") from None
    finally:
        os.close(at)
    try:
        yield folder
    except OSError as error:
        raise _refused(path, error.strerror or "it cannot be had") from None
    finally:
        os.close(folder)


def _step(at: int, name: str) -> int:
    flags = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, dir_fd=at)
    except FileNotFoundError:
        os.mkdir(name, FOLDER_MODE, dir_fd=at)
        return os.open(name, flags, dir_fd=at)


def _check_folder(at: int, done: Path, owners: frozenset[int], groups: set[int], *, is_last: bool) -> None:
    found = os.fstat(at)
    if not stat.S_ISDIR(found.st_mode):
        raise _refused(done, "it is no folder")
    if os.geteuid() != ROOT and not is_last:
        return  # without root's rights it cannot harm others, wherever the path leads
    if found.st_uid not in owners:
        raise _refused(done, "the folder is another user's, who could lead the store elsewhere")
    by_others = found.st_mode & stat.S_IWOTH or (found.st_mode & stat.S_IWGRP and found.st_gid not in groups)
    # In a folder with the sticky bit, like /tmp, nobody removes what belongs to others.
    if by_others and (is_last or not found.st_mode & stat.S_ISVTX):
        raise _refused(done, "others may write into this folder: make one for the store alone")


@contextmanager
def _file(folder: int, path: Path, side: str) -> Iterator[int | None]:
    """Open one of the files of the database to check it; give None if it is missing."""
    try:
        file = os.open(path.name + side, LOOK, dir_fd=folder)
    except FileNotFoundError:
        yield None
        return
    except OSError as error:
        raise _refused(f"{path}{side}", f"a link, or not to be had: {error.strerror}") from None
    try:
        found = os.fstat(file)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:
            raise _refused(f"{path}{side}", "it is no file of the store's own, but a link or a device")
        yield file
    finally:
        os.close(file)


def _is_ours_alone(folder: int, path: Path) -> bool:
    """Whether the folder holds nothing but the database."""
    return all(name.startswith(path.name) for name in os.listdir(folder))


def _refused(what: Path | str, why: str) -> FilesError:
    return FilesError(f"store > database: {what}: {why}")
