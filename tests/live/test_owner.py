# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The owner of a socket is found among real processes, those that owned one before are looked through first."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from sockbpf.counters import Counters
from sockbpf.kernel.look import owner
from sockbpf.kernel.look.holders import sockets_of
from sockbpf.kernel.look.owner import Owners
from sockbpf.monitor.rules import Rules
from sockbpf.process.clock import monotonic_ns
from sockbpf.record.event import What
from sockbpf.settings.config import Config
from tests.live.sockets import udp_socket
from tests.live.waiting import until
from tests.unit.policies import TCP, event

HOLD = """
import os, socket, sys
held = []
for line in sys.stdin:
    held.append(socket.socket())
    print(os.fstat(held[-1].fileno()).st_ino, flush=True)
"""


class Holder:
    """A process that opens a socket whenever it is asked to."""

    def __init__(self, stack: ExitStack) -> None:
        self.process = stack.enter_context(
            subprocess.Popen(
                [sys.executable, "-c", HOLD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
                bufsize=1,
            )
        )
        stack.callback(self.process.kill)

    @property
    def known(self) -> tuple[int, str]:
        """Its pid and comm, once it has answered: before, it may still be called as we are."""
        return self.process.pid, Path(f"/proc/{self.process.pid}/comm").read_text().rstrip("\n")

    def open(self) -> int:
        """Return the inode of a new socket."""
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write("\n")
        return int(self.process.stdout.readline())


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note which processes are looked through."""
    noted: list[str] = []

    def note(process: str) -> object:
        noted.append(process)
        return sockets_of(process)

    monkeypatch.setattr(owner, "sockets_of", note)
    return noted


def found(owners: Owners, inode: int) -> tuple[int, str]:
    """Ask until there was time to look."""
    until(lambda: owners.owner(inode)[0], f"the owner of {inode}")
    return owners.owner(inode)


def test_a_new_socket_of_a_known_owner_takes_one_look(stack: ExitStack, looked: list[str]) -> None:
    holders = [Holder(stack) for _ in range(3)]
    owners = Owners()
    for holder in holders:
        assert found(owners, holder.open()) == holder.known
    for holder in holders:
        looked.clear()
        assert found(owners, holder.open()) == holder.known
        known = {str(each.process.pid) for each in holders}
        assert set(looked) <= known
        assert looked[-1] == str(holder.process.pid)


def test_the_latest_owners_are_looked_through_first(stack: ExitStack, looked: list[str]) -> None:
    holders = [Holder(stack) for _ in range(owner.RECENT + 3)]
    owners = Owners()
    for holder in holders:
        assert found(owners, holder.open()) == holder.known
    looked.clear()
    found(owners, holders[-2].open())
    assert looked == [str(holder.process.pid) for holder in (holders[-1], holders[-2])]
    assert len(owners._recent) == owner.RECENT


def test_many_that_are_sought_at_once_take_one_scan(stack: ExitStack) -> None:
    """Asked for one by one, the second is refused: there was a scan just now."""
    inodes = [Holder(stack).open() for _ in range(3)]
    one_by_one, owners = Owners(), Owners()
    assert not all(one_by_one.owner(inode)[0] for inode in inodes)
    owners.seek(set(inodes))
    assert all(owners.owner(inode)[0] for inode in inodes)


def test_those_that_rules_ask_for_are_sought_at_once(stack: ExitStack) -> None:
    """So that each is judged by its own rule as soon as the first is."""
    holders = [Holder(stack) for _ in range(3)]
    sockets = [replace(TCP, inode=holder.open()) for holder in holders]
    events = [event(What.UNSURE, 0, 0, 1, socket=each) for each in sockets]
    asking = [{"match": {"process": "reader"}, "ignore": True}]
    config = Config.model_validate({"url": "http://192.0.2.1/", "rules": asking})
    rules = Rules(config, Owners(), None, Counters())
    rules.use(config)
    rules.seek(events)
    assert [rules.who(each).process for each in sockets] == [holder.known[1] for holder in holders]


def test_nobody_owns_what_was_closed(stack: ExitStack) -> None:
    owners = Owners()
    mine = udp_socket(stack)
    inode = os.fstat(mine.fileno()).st_ino
    assert found(owners, inode)[0] == os.getpid()
    mine.close()
    other = socket.socket()
    stack.callback(other.close)
    assert owners.owner(inode) == (0, "")
    assert owners.owner(0) == (0, "")


def test_what_is_gone_is_forgotten_when_there_is_much(
    stack: ExitStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    owners = Owners()
    first, second = Holder(stack), Holder(stack)
    inode = first.open()
    found(owners, inode)
    first.process.kill()
    first.process.wait()
    found(owners, second.open())
    assert inode in owners._seen
    monkeypatch.setattr(owner, "MOST", len(owners._seen))
    found(owners, second.open())
    assert inode not in owners._seen


def test_a_socket_may_be_held_until_all_were_looked_through(stack: ExitStack) -> None:
    owners = Owners()
    holder = Holder(stack)
    theirs, ours = holder.open(), udp_socket(stack)
    gone = os.fstat(ours.fileno()).st_ino
    ours.close()
    begun_ns = monotonic_ns()
    owners._next_scan_s = float("inf")  # no time to look
    assert owners.may_be_held(gone, begun_ns)
    assert not owners.may_be_held(0, begun_ns)
    owners._next_scan_s = 0.0
    assert not owners.may_be_held(gone, begun_ns)
    owners._next_scan_s = 0.0
    assert owners.may_be_held(theirs, begun_ns)


def test_one_look_through_all_answers_for_all_sockets_that_were_there_before(stack: ExitStack) -> None:
    owners = Owners()
    sockets = [udp_socket(stack) for _ in range(3)]
    gone = [os.fstat(one.fileno()).st_ino for one in sockets]
    held = Holder(stack).open()
    for one in sockets:
        one.close()
    begun_ns = monotonic_ns()
    assert not owners.may_be_held(gone[0], begun_ns)
    owners._next_scan_s = float("inf")  # no time for another
    assert not any(owners.may_be_held(inode, begun_ns) for inode in gone)
    assert owners.may_be_held(held, begun_ns)
    assert owners.may_be_held(gone[1], monotonic_ns()), "it may have come after that look"
