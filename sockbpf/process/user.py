# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Who the store is: a user of its own that root becomes for good, with no right that another process could use."""

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
"""Who the store is where that was not made: of the ids that Debian and systemd both keep unused, 65520 to 65533."""

PR_SET_DUMPABLE, PR_SET_NO_NEW_PRIVS = 4, 38  # linux/prctl.h


class UserError(SockbpfError):
    """The store cannot be the user that it should be; the text says why."""


def user_of(name: str) -> pwd.struct_passwd:
    """Return the user of this name. Without an account for `OWN`, that is one that has no account at all.

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
    """Return the ids of whom the store may have been before it was `user`: its files go over to that one."""
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
    """Have this thread, and those it starts, get no rights but those they have, by no program that they might run."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)


def confine() -> None:
    """Have this process, whoever it has become, leave nothing of its memory to anybody."""
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    for limit in (
        resource.RLIMIT_CORE,
        resource.RLIMIT_MEMLOCK,
    ):  # the monitor locks memory, the store does not
        resource.setrlimit(limit, (0, 0))
