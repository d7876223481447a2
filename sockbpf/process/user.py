# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The user that the store's process becomes: one of its own, for good, without rights that it does not need."""

from __future__ import annotations

import ctypes
import logging
import os
import pwd
import resource
from contextlib import suppress

from sockbpf.errors import SockbpfError

log = logging.getLogger(__name__)

OWN = "sockbpf-store"
"""The user that `make install` makes."""

UNNAMED = 65_521
"""The store's user id where `OWN` was not made: one of 65520 to 65533, which Debian and systemd leave unused."""

PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 4, 38  # linux/prctl.h


class UserError(SockbpfError):
    """The store cannot be the user that it should be; the text says why."""


def user_of(name: str) -> pwd.struct_passwd:
    """Return the user of this name. If `OWN` does not exist, return a user with the id `UNNAMED`, without an account.

    Raise UserError.
    """
    with suppress(KeyError):
        return pwd.getpwnam(name)
    if name != OWN:
        raise UserError(f"store > user: there is no user {name}")
    with suppress(KeyError):
        taken = pwd.getpwuid(UNNAMED).pw_name
        raise UserError(
            f"store > user: there is no {OWN}, and id {UNNAMED} is {taken}'s. Remedy: make install"
        )
    log.warning("there is no user %s: the store is the user with id %d. Remedy: make install", OWN, UNNAMED)
    return pwd.struct_passwd((OWN, "x", UNNAMED, UNNAMED, "", "/", "/usr/sbin/nologin"))


def users_before(user: pwd.struct_passwd) -> frozenset[int]:
    """Return the ids that the store's process may have had before it was `user`: files of theirs become `user`'s."""
    before = {UNNAMED}
    with suppress(KeyError):
        before.add(pwd.getpwnam("nobody").pw_uid)
    return frozenset(before - {user.pw_uid})


def become(user: pwd.struct_passwd) -> None:
    """Give up root for good. Raise UserError."""
    try:
        os.setgroups([])
        os.setresgid(user.pw_gid, user.pw_gid, user.pw_gid)
        os.setresuid(user.pw_uid, user.pw_uid, user.pw_uid)
    except OSError as error:
        raise UserError(
            f"store > user: cannot become {user.pw_name}: {error.strerror}. "
            "Remedy: the capabilities SETUID and SETGID, or user: root"
        ) from None


def want_no_rights() -> None:
    """Keep this thread, and threads that it starts, from getting more rights by running a program (setuid)."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def confine() -> None:
    """Keep this process's memory from other processes and from core files."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    for limit in (resource.RLIMIT_CORE, resource.RLIMIT_MEMLOCK):  # only the monitor locks memory
        resource.setrlimit(limit, (0, 0))
