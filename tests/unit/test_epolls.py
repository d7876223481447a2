# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""For what a process that sleeps in an epoll watches a socket: real processes."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest

from sockbpf.kernel.look.epolls import watched_for
from sockbpf.kernel.look.threads import threads_of, top_of_stack
from sockbpf.record.closeup import Thread

PROGRAM = """
import resource, select, sys, threading
one, other, inner, number = select.epoll(), select.epoll(), select.epoll(), int(sys.argv[1])
{}
print(flush=True)
one.poll()
"""
ALWAYS = select.EPOLLERR | select.EPOLLHUP
"""What the kernel adds."""
IN = select.EPOLLIN
NESTED = "one.register(inner.fileno(), 1); inner.register(number, 1)"
ONE_SHOT = "one.register(number, select.EPOLLOUT | select.EPOLLONESHOT); one.poll()"
LAID_ROUND = "one.register(inner.fileno(), 1); inner.register(other.fileno(), 1)"
OTHER_THREAD = "other.register(number, 1); threading.Thread(target=other.poll, daemon=True).start()"
MANY = "resource.setrlimit(resource.RLIMIT_NOFILE, (3000, 3000)); import os; os.dup2(0, 2000)"
WATCHED = {
    "not at all": ("", 0),
    "no more": ("one.register(number, 1); one.unregister(number)", 0),
    "in an epoll in which nobody sleeps": ("other.register(number, 1)", 0),
    "for data": ("one.register(number, select.EPOLLIN)", IN | ALWAYS),
    "for what is urgent": ("one.register(number, select.EPOLLPRI)", select.EPOLLPRI | ALWAYS),
    "once": (ONE_SHOT, select.EPOLLONESHOT),
    "by an epoll in an epoll": (NESTED, IN | ALWAYS),
    "by none of them": (LAID_ROUND, 0),
    "by another thread": (OTHER_THREAD, IN | ALWAYS),
    "by a number that is another file by now": (
        "import os; one.register(number, 1); os.dup2(0, number)",
        IN | ALWAYS,
    ),
    "among too many": (MANY, None),
}


@pytest.mark.parametrize("case", WATCHED)
def test_what_is_watched(case: str) -> None:
    before, expected = WATCHED[case]
    with ExitStack() as stack:
        sock = stack.enter_context(socket.socket(type=socket.SOCK_DGRAM))
        process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM.format(before), str(sock.fileno())],
            stdout=subprocess.PIPE, text=True, pass_fds=[sock.fileno()],
        )  # fmt: skip
        stack.callback(process.wait)
        stack.callback(process.kill)
        assert process.stdout
        stack.enter_context(process.stdout)
        process.stdout.readline()
        end = time.monotonic() + 9
        while not all(thread.is_in_epoll for thread in threads_of(process.pid)):
            assert time.monotonic() < end
        for thread in threads_of(process.pid):
            assert top_of_stack(thread.path) == thread.where  # which some kernels say there alone
        assert watched_for(threads_of(process.pid), os.fstat(sock.fileno()).st_ino) == expected


def test_what_cannot_be_told() -> None:
    assert watched_for([], 1) is None
    assert watched_for([Thread("S", "ep_poll", "/proc/4194305/task/4194305")], 1) is None
    assert watched_for([Thread("S", "ep_poll", f"/proc/{os.getpid()}/task/{os.getpid()}")], 1) is None
