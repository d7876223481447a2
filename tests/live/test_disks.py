# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Whatever the journal's disk does, the monitor alerts, says once what is wrong, and recovers with the disk."""

from __future__ import annotations

import errno
import os
import socket
import subprocess
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from sockbpf.delivery.journal_lines import FILE, first_line, line
from tests.live.journal_disks import (
    IN_MEMORY,
    Pair,
    alerted,
    assert_in_use,
    assert_said_once,
    await_again,
    cross_until_said,
    fill,
    mount,
    remount,
    said,
    settings,
)
from tests.live.monitoring import StartMonitor
from tests.live.receiver import Receiver
from tests.live.sockets import tcp_pair
from tests.live.turns import skip_unless_its_turn
from tests.live.waiting import until

SMALL = "8m"
BY_TURNS = (
    "test_full_from_the_start",
    "test_read_only",
    "test_input_output_errors",
    "test_parent_is_a_file[journal]",
    "test_parent_is_a_file[folder/journal]",
)
"""Two of them a day: each waits for half a minute, until the disk is tried again."""


@pytest.fixture(autouse=True)
def _in_turn(request: pytest.FixtureRequest) -> None:
    if request.node.name in BY_TURNS:
        skip_unless_its_turn(request, request.node.name, BY_TURNS, 2)


@pytest.fixture
def pair(stack: ExitStack) -> tuple[socket.socket, socket.socket]:
    return tcp_pair(stack)


def test_full(
    start_monitor: StartMonitor, receiver: Receiver, pair: Pair, stack: ExitStack, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    mount(stack, disk, "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs")
    journal, filler = disk / "journal", disk / "filler"
    monitor = start_monitor(**settings(journal))
    alerted(receiver, pair)
    assert not said(monitor, IN_MEMORY)
    fill(filler)
    cross_until_said(monitor, receiver, pair)
    assert_said_once(monitor, "full")
    alerted(receiver, pair)
    filler.unlink()
    await_again(monitor)
    alerted(receiver, pair)
    assert_in_use(monitor, receiver, journal, 1)


def test_full_from_the_start(
    start_monitor: StartMonitor, receiver: Receiver, pair: Pair, stack: ExitStack, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    mount(stack, disk, "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs")
    journal, filler = disk / "journal", disk / "filler"
    fill(filler)
    monitor = start_monitor(**settings(journal))
    alerted(receiver, pair)
    assert_said_once(monitor, "full", os.strerror(errno.ENOSPC))
    filler.unlink()
    await_again(monitor)
    alerted(receiver, pair)
    assert_in_use(monitor, receiver, journal, 1)


def test_read_only(
    start_monitor: StartMonitor, receiver: Receiver, pair: Pair, stack: ExitStack, tmp_path: Path
) -> None:
    disk = tmp_path / "disk"
    mount(stack, disk, "-t", "tmpfs", "-o", f"ro,size={SMALL}", "tmpfs")
    monitor = start_monitor(**settings(disk / "journal"))
    alerted(receiver, pair)
    assert_said_once(monitor, os.strerror(errno.EROFS))
    remount(disk, "rw")
    await_again(monitor)
    alerted(receiver, pair)
    assert_in_use(monitor, receiver, disk / "journal", 1)


def test_read_only_with_alerts_owed(
    start_monitor: StartMonitor, receiver: Receiver, pair: Pair, stack: ExitStack, tmp_path: Path
) -> None:
    """What an earlier monitor owed is found once it can be read, and its numbers are not given again."""
    disk = tmp_path / "disk"
    mount(stack, disk, "-t", "tmpfs", "-o", f"size={SMALL}", "tmpfs")
    journal = disk / "journal"
    monitor = start_monitor(**settings(journal))
    for _ in range(3):
        alerted(receiver, pair)
    assert monitor.stop() == 0
    remount(disk, "ro")
    monitor = start_monitor(**settings(journal))
    alerted(receiver, pair)
    assert_said_once(monitor, os.strerror(errno.EROFS))
    remount(disk, "rw")
    await_again(monitor)
    alerted(receiver, pair)
    assert_in_use(monitor, receiver, journal, 1)
    assert said(monitor, "found ")
    seqs = [int(told["seq"]) for told in receiver.alerts()]
    assert len(seqs) == len(set(seqs)), f"a seq stands for two alerts: {sorted(seqs)}"


@pytest.mark.parametrize("below", ["journal", "folder/journal"])
def test_parent_is_a_file(
    start_monitor: StartMonitor, receiver: Receiver, pair: Pair, tmp_path: Path, below: str
) -> None:
    parent = tmp_path / "parent"
    parent.touch()
    monitor = start_monitor(**settings(parent / below))
    alerted(receiver, pair)
    assert_said_once(monitor, os.strerror(errno.ENOTDIR))
    parent.unlink()
    await_again(monitor)
    alerted(receiver, pair)
    assert_in_use(monitor, receiver, parent / below, 1)


def test_input_output_errors(
    start_monitor: StartMonitor, receiver: Receiver, pair: Pair, stack: ExitStack, tmp_path: Path
) -> None:
    """A file system on a sparse file that cannot grow: what is written into new blocks fails below it."""
    below, disk = tmp_path / "below", tmp_path / "disk"
    mount(stack, below, "-t", "tmpfs", "-o", "size=4m", "tmpfs")
    image, filler = below / "image", below / "filler"
    with image.open("wb") as file:
        file.truncate(64 << 20)
    make = ["mkfs.ext4", "-q", "-O", "^has_journal", "-e", "continue", "-N", "64", str(image)]
    subprocess.run(make, check=True)
    mount(stack, disk, "-o", "loop", str(image))
    journal = disk / "journal"
    monitor = start_monitor(**settings(journal))
    alerted(receiver, pair)
    assert not said(monitor, IN_MEMORY)
    os.sync()
    fill(filler)
    cross_until_said(monitor, receiver, pair)
    assert_said_once(monitor, os.strerror(errno.EIO), os.strerror(errno.ENOSPC))
    alerted(receiver, pair)
    filler.unlink()
    await_again(monitor)
    alerted(receiver, pair)
    assert_in_use(monitor, receiver, journal, 1)


def no_journal(journal: Path) -> None:
    journal.write_bytes(b"not a journal " * 1000)


def overwritten(journal: Path) -> None:
    journal.write_bytes(b"\xa5" * journal.stat().st_size)


def of_another_edition(journal: Path) -> None:
    journal.write_bytes(
        journal.read_bytes().replace(first_line(), line(FILE, b'{"journal":"sockbpf","edition":7}'))
    )


@pytest.mark.parametrize("damage", [no_journal, overwritten, of_another_edition])
def test_corrupt_at_the_start(
    start_monitor: StartMonitor,
    receiver: Receiver,
    pair: Pair,
    tmp_path: Path,
    damage: Callable[[Path], None],
) -> None:
    journal = tmp_path / "journal" / "journal"
    monitor = start_monitor(**settings(journal))
    for _ in range(23):
        alerted(receiver, pair)
    assert monitor.stop() == 0
    damage(journal)
    damaged = journal.read_bytes()
    receiver.told.clear()
    monitor = start_monitor(**settings(journal))
    (line,) = said(monitor, "set aside as ")
    print(line)
    (kept,) = journal.parent.glob("*.unreadable-*")
    assert str(kept) in line
    assert kept.read_bytes() == damaged
    for _ in range(2):
        alerted(receiver, pair)
    assert not said(monitor, IN_MEMORY)
    assert_in_use(monitor, receiver, journal, 0)


SLOW, QUICK = "the journal's disk is slow", "the journal's disk answers again"


def test_hangs(
    start_monitor: StartMonitor, receiver: Receiver, pair: Pair, stack: ExitStack, tmp_path: Path
) -> None:
    """A file system that is frozen: alerts go on from memory, and the journal is whole once it is thawed."""
    below, at = tmp_path / "below", tmp_path / "disk"
    mount(stack, below, "-t", "tmpfs", "-o", "size=40m", "tmpfs")  # it is never slow by itself
    image = below / "image"
    with image.open("wb") as file:
        file.truncate(32 * 2**20)
    subprocess.run(["mkfs.ext4", "-q", str(image)], check=True)
    mount(stack, at, "-o", "loop", str(image))
    journal = at / "journal"
    monitor = start_monitor(**settings(journal))
    alerted(receiver, pair)
    subprocess.run(["fsfreeze", "-f", str(at)], check=True)
    thaw = ["fsfreeze", "-u", str(at)]
    stack.callback(subprocess.run, thaw, check=False, stderr=subprocess.DEVNULL)
    for _ in range(3):
        alerted(receiver, pair)
    until(lambda: said(monitor, SLOW), "it is said")
    subprocess.run(thaw, check=True)
    until(lambda: said(monitor, QUICK), "it is said that it is over")
    alerted(receiver, pair)
    assert len(said(monitor, SLOW)) == 1
    assert_in_use(monitor, receiver, journal, failed=0)
    assert monitor.counters()["journal_slow"] >= 1
    again = start_monitor(**settings(journal))
    assert again.stop() == 0
    told = [(each["id"], each["event"], each["seq"]) for each in receiver.alerts()]
    assert len(told) == len(set(told)), "what was delivered meanwhile is not sent again"
