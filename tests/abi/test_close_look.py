# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A close look into another network namespace, of a socket that no process holds: nothing tells the way there."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace

import pytest

from sockbpf.kernel.look.close import CloseLook
from sockbpf.record.event import Protocol, Socket

UNREAD = 5003
NOT_ACCEPTED = f"""
import socket
listener = socket.create_server(("127.0.0.1", 0))
client = socket.create_connection(listener.getsockname())
client.sendall(bytes({UNREAD}))
print(listener.getsockname()[1], client.getsockname()[1], flush=True)
input()
"""


@pytest.fixture
def waiting() -> Iterator[Socket]:
    """Have a connection wait to be accepted in a namespace without a name."""
    elsewhere = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh"]
    with subprocess.Popen(
        [*elsewhere, sys.executable, "-c", NOT_ACCEPTED],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout
        local, remote = map(int, process.stdout.readline().split())
        netns = os.stat(f"/proc/{process.pid}/ns/net").st_ino
        yield Socket(Protocol.TCP, "127.0.0.1", local, "127.0.0.1", remote, netns, inode=0)
        process.communicate("\n")


def test_a_connection_that_nobody_has_accepted(waiting: Socket) -> None:
    with closing(CloseLook()) as looking:
        for _ in range(2):  # the second time by the way that is known
            seen = looking.look(waiting)
            assert seen
            assert (seen.recv, seen.inode) == (UNREAD, 0)


def test_there_is_no_way_into_a_namespace_that_is_gone(waiting: Socket) -> None:
    with closing(CloseLook()) as looking:
        assert looking.look(replace(waiting, netns=1)) is None
