# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Who holds a socket is found in /proc: the processes that were named first, and no others once all are found."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from sockbpf.kernel.look.holders import comm_of, holders_of
from sockbpf.kernel.look.owner import Owners
from sockbpf.kernel.look.whose import Cgroups


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


def test_a_holder_is_found_among_all_processes() -> None:
    with socket.socket() as one, socket.socket() as other:
        own = os.getpid()
        assert holders_of({inode(one), inode(other), 0}) == {inode(one): own, inode(other): own}
        assert holders_of(None)[inode(one)] == own
        assert comm_of(own) == Path("/proc/self/comm").read_text().strip()


def test_nothing_is_sought_that_no_file_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "listdir", lambda _: pytest.fail("it has looked"))
    assert holders_of({0}) == holders_of(set()) == {}


def test_once_all_are_found_no_other_process_is_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = os.listdir

    def named(path: str | int) -> list[str]:
        assert path != "/proc"
        return listed(path)

    monkeypatch.setattr(os, "listdir", named)
    with socket.socket() as one:
        assert holders_of({inode(one)}, [str(os.getpid())]) == {inode(one): os.getpid()}


def test_a_cgroup_names_its_processes(tmp_path: Path) -> None:
    place = tmp_path / "system.slice" / "web.service"
    place.mkdir(parents=True)
    (place / "cgroup.procs").write_text("17\n4001\n")
    cgroups = Cgroups(tmp_path)
    assert cgroups.processes(place.stat().st_ino) == ["17", "4001"]
    assert cgroups.processes(place.parent.stat().st_ino) == []
    assert cgroups.processes(1) == []
    assert Cgroups(None).processes(place.stat().st_ino) == []


HOLD = """
import os, socket, sys, time
open("/proc/self/comm", "w").write("systemd")
one = socket.socket()
print(os.fstat(one.fileno()).st_ino, flush=True)
input()
if not os.fork():
    open("/proc/self/comm", "w").write("service")
    print(os.getpid(), flush=True)
input()
"""


def test_a_manager_is_named_only_while_nobody_else_holds_the_socket() -> None:
    """As systemd, which makes the sockets of a socket unit, keeps them, and starts the service later."""
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as manager:
        assert manager.stdin
        assert manager.stdout
        number = int(manager.stdout.readline())
        owners = Owners()
        assert owners.owner(number) == (manager.pid, "systemd")
        assert holders_of({number}) == {number: manager.pid}
        manager.stdin.write("\n")
        manager.stdin.flush()
        service = int(manager.stdout.readline())
        owners.look_through_all()
        assert owners.owner(number) == (service, "service")
        assert holders_of({number}) == {number: service}
        manager.stdin.close()  # both end
