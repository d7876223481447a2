# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A monitor that runs a store, and a socket that stands over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import requests

from tests.live.monitoring import Monitor, launch, thresholds
from tests.live.sockets import port, udp_socket
from tests.live.waiting import until

UNREAD = 30_011
StartBoth = Callable[..., Monitor]


@pytest.fixture
def folder() -> Iterator[Path]:
    """Make a folder that everybody can walk through, as /var/lib is; pytest's own is for us alone."""
    with TemporaryDirectory(dir="/var/tmp") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
def start_both(folder: Path) -> Iterator[StartBoth]:
    """Start a monitor whose url is that of its store."""
    running: list[Monitor] = []

    def start(listen: int, before: Sequence[str] = (), **settings: Any) -> Monitor:
        store = {"listen": f"127.0.0.1:{listen}", "database": f"sqlite:///{folder}/store/alerts.sqlite"}
        made = launch(
            folder / f"monitor{len(running)}",
            f"http://127.0.0.1:{listen}/alert",
            {"thresholds": thresholds(20_011), "store": store, **settings},
            before,
        )
        running.append(made)
        made.wait_armed()
        return made

    yield start
    for monitor in running:
        monitor.stop()
        print(monitor.log()[-9000:])


def child(monitor: Monitor) -> int:
    """Return the process id of the store, 0 if it does not run."""
    listed = Path(f"/proc/{monitor.pid}/task").glob("*/children")
    pids = [int(pid) for file in listed for pid in file.read_text().split()]
    for pid in pids:
        with suppress(OSError):
            if b"store" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
                return pid
    return 0


def has(listen: int, *numbers: int) -> bool:
    """Whether the store has alerts about all these ports. Asked for few: what it answers is in a queue itself."""
    try:
        answers = [
            requests.get(f"http://127.0.0.1:{listen}/store.json?limit=1&port={number}", timeout=9)
            for number in numbers
        ]
    except requests.RequestException:
        return False
    return all(answer.ok and answer.json() for answer in answers)


def cross(stack: ExitStack) -> int:
    """Have a UDP socket stand over; return its port."""
    sock = udp_socket(stack)
    udp_socket(stack).sendto(bytes(UNREAD), sock.getsockname())
    return port(sock)


def is_alive(pid: int) -> bool:
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


def listens(monitor: Monitor) -> int:
    """Wait until the store listens; return its process id."""
    until(lambda: "the store listens" in monitor.log(), "it listens")
    return child(monitor)
