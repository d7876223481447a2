# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Who has inherited a socket: real processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack

from sockbpf.kernel.look.sharers import sharers_of

ASLEEP = "import time; print(flush=True); time.sleep(600)"
WITH_CHILD = "import os, time; pid = os.fork(); print(pid, flush=True) if pid else None; time.sleep(600)"


def started(stack: ExitStack, program: str, *fds: int) -> tuple[int, str]:
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        stdout=subprocess.PIPE,
        text=True,
        pass_fds=fds,
        start_new_session=True,
    )
    stack.callback(process.wait)
    stack.callback(os.killpg, process.pid, 9)
    assert process.stdout
    stack.enter_context(process.stdout)
    return process.pid, process.stdout.readline()


def test_parent_siblings_and_children_that_hold_it() -> None:
    with ExitStack() as stack:
        sock = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        other = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        inode, fd = os.fstat(sock.fileno()).st_ino, sock.fileno()
        one, _ = started(stack, ASLEEP, fd)
        forking, child = started(stack, WITH_CHILD, fd)
        started(stack, ASLEEP, other.fileno())
        assert set(sharers_of(one, inode)) == {os.getpid(), forking}
        assert set(sharers_of(forking, inode)) == {os.getpid(), one, int(child)}
        assert sharers_of(int(child), inode) == [forking]


def test_nobody_shares_what_one_holds_alone_or_nobody() -> None:
    with ExitStack() as stack:
        sock = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        inode = os.fstat(sock.fileno()).st_ino
        started(stack, ASLEEP)
        assert sharers_of(os.getpid(), inode) == []
        assert sharers_of(os.getpid(), 1) == []
        assert sharers_of(2**22 + 1, inode) == []
