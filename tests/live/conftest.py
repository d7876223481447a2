# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The fixtures of the live tier: this kernel, real sockets, real HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.live.command_line import write_config
from tests.live.monitoring import Monitor, StartMonitor, launch
from tests.live.receiver import Receiver, receiving


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with receiving() as made:
        yield made


@pytest.fixture
def start_monitor(tmp_path: Path, receiver: Receiver) -> Iterator[StartMonitor]:
    """Start monitors; all are stopped at the end, and their logs shown if the test failed."""
    running: list[Monitor] = []

    def start(*, armed: bool = True, before: Sequence[str] = (), **settings: Any) -> Monitor:
        monitor = launch(tmp_path / f"monitor{len(running)}", receiver.url, settings, before)
        running.append(monitor)
        if armed:
            monitor.wait_armed()
        return monitor

    yield start
    for monitor in running:
        monitor.stop()
        print(f"--- log of the monitor ---\n{monitor.log()[-20000:]}")


@pytest.fixture
def compiling(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have every monitor of the test compile, as the first one after a boot does."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", "/dev/null/none")


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as made:
        yield made


@pytest.fixture
def config(tmp_path: Path, receiver: Receiver) -> Path:
    """Write settings for one command; return their file."""
    return write_config(tmp_path, receiver)


@pytest.fixture
def quiet_s(request: pytest.FixtureRequest) -> float:
    """Seconds without a crossing, after which bursts are done again; 0: they are not."""
    return float(request.config.getoption("--quiet-s"))
