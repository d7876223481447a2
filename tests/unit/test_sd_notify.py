# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The messages to a service manager, by sd_notify(3); and that whatever it does, the monitor goes on."""

from __future__ import annotations

import math
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from sockbpf.monitor.service import PARTS, Service


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[socket.socket]:
    """Return the socket of a manager that never waits."""
    name = "\0sockbpf-test-" + str(os.getpid()) if request.param == "abstract" else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as made:
        made.bind(name)
        made.setblocking(False)
        yield made


def environment(manager: socket.socket, **more: str) -> dict[str, str]:
    """Return what the manager puts into the environment; an abstract name is written with @."""
    name = manager.getsockname()
    return {"NOTIFY_SOCKET": "@" + name[1:].decode() if isinstance(name, bytes) else name, **more}


def heard(manager: socket.socket) -> list[str]:
    """Return the datagrams that have come."""
    found = []
    while True:
        try:
            found.append(manager.recv(4096).decode())
        except BlockingIOError:
            return found


def test_the_words(manager: socket.socket) -> None:
    service = Service(environment(manager, WATCHDOG_USEC="60000000"))
    service.ready("watching")
    service.alive()
    service.stopping()
    assert heard(manager) == ["READY=1\nSTATUS=watching", "WATCHDOG=1", "STOPPING=1"]


def test_alive_is_told_when_it_is_due(manager: socket.socket) -> None:
    service = Service(environment(manager, WATCHDOG_USEC="60000000", WATCHDOG_PID=str(os.getpid())))
    before_s = time.monotonic()
    assert service.due_s <= before_s
    service.alive()
    assert before_s + 60 / PARTS <= service.due_s <= time.monotonic() + 60 / PARTS
    for _ in range(1009):  # a busy loop does not flood it
        service.alive()
    assert heard(manager) == ["WATCHDOG=1"]
    service.due_s = time.monotonic()
    service.alive()
    assert heard(manager) == ["WATCHDOG=1"]


@pytest.mark.parametrize(
    "watchdog",
    [
        {},
        {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getppid())},
        {"WATCHDOG_USEC": "60000000", "WATCHDOG_PID": "of nobody"},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "-1"},
        {"WATCHDOG_USEC": "often"},
        {"WATCHDOG_USEC": ""},
    ],
)
def test_no_watchdog_waits_for_this_process(manager: socket.socket, watchdog: dict[str, str]) -> None:
    service = Service(environment(manager, **watchdog))
    assert service.due_s == math.inf
    service.alive()
    service.ready("watching")
    assert heard(manager) == ["READY=1\nSTATUS=watching"]


@pytest.mark.parametrize(
    "address", [None, "", "/nowhere/notify", "@nobody-listens", "vsock:2:1234", "/" * 200]
)
def test_nobody_to_tell(address: str | None) -> None:
    service = Service({"WATCHDOG_USEC": "1000"} | ({} if address is None else {"NOTIFY_SOCKET": address}))
    service.ready("watching")
    service.alive()
    service.stopping()


def test_without_a_manager_nothing_is_due() -> None:
    assert Service({"WATCHDOG_USEC": "1000"}).due_s == math.inf


def test_a_manager_that_does_not_read_blocks_nobody(manager: socket.socket) -> None:
    service = Service(environment(manager))
    for _ in range(1009):  # net.unix.max_dgram_qlen is 10, or 512 at most
        service.stopping()
    assert len(heard(manager)) < 1009
    service.stopping()
    assert heard(manager) == ["STOPPING=1"]
