# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Signals while the monitor loads: a start can be ended at any instant, and no other signal ends it or is lost."""

from __future__ import annotations

import random
import re
import signal
import time
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest
import yaml

from tests.live.monitoring import StartMonitor, compilers, thresholds
from tests.live.receiver import Receiver
from tests.live.sockets import port, tcp_pair
from tests.live.surroundings import UNREAD
from tests.live.waiting import until

pytestmark = pytest.mark.usefixtures("compiling")

STARTS = 7
"""How many starts are disturbed by signals."""


def holds(pid: int, number: int) -> bool:
    """Whether the kernel keeps this signal for the process, or its handler is there."""
    with suppress(OSError):
        masks = dict(
            re.findall(r"^(SigBlk|SigCgt):\s+(\w+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
        )
        return any(int(mask, 16) >> (number - 1) & 1 for mask in masks.values())
    return False


def has_begun(pid: int) -> bool:
    """Whether the process is importing what reads settings."""
    with suppress(OSError):
        return "pydantic_core" in Path(f"/proc/{pid}/maps").read_text()
    return False


@pytest.mark.parametrize("when", ["while it imports", "while it compiles"])
def test_a_signal_while_it_loads_ends_nothing_and_is_taken_after(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, when: str
) -> None:
    """Whether the settings had been read by then or not: those that were there at the signal hold in the end."""
    monitor = start_monitor(armed=False, thresholds=thresholds(1 << 30))
    reached = has_begun if when == "while it imports" else compilers
    until(lambda: reached(monitor.pid) or monitor.process.poll() is not None, when)
    file = monitor.log_file.with_name("config.yaml")
    changed = file.with_name("changed.yaml")
    changed.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | {"thresholds": thresholds(20_011)}))
    changed.replace(file)
    monitor.process.send_signal(signal.SIGHUP)
    monitor.process.send_signal(signal.SIGUSR1)
    monitor.wait_armed()
    client, server = tcp_pair(stack)
    client.sendall(bytes(UNREAD))
    receiver.first(event="exceeded", local_port=port(server), type="RECV", threshold=20_011)
    assert monitor.stop() == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_start_can_be_ended_at_any_instant_and_leaves_nothing(
    start_monitor: StartMonitor, number: int, code: int
) -> None:
    chance = random.Random(number)
    for _ in range(STARTS):
        monitor = start_monitor(armed=False)
        until(lambda: holds(monitor.pid, signal.SIGTERM), "it has begun")  # noqa: B023
        end_s = time.monotonic() + chance.uniform(0, 1.5)
        until(lambda: time.monotonic() > end_s, "an instant")  # noqa: B023
        children = compilers(monitor.pid)
        for _ in range(3):
            monitor.process.send_signal(number)
        assert monitor.process.wait(60) == code, monitor.log()
        assert not monitor.ready_file.exists()
        until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in children), "its children ended")  # noqa: B023
        assert "Traceback" not in monitor.log()
