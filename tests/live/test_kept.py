# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A restart compiles nothing; bytecode that cannot be trusted is not used."""

from __future__ import annotations

import os
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live.monitoring import StartMonitor, thresholds, with_bcc
from tests.live.receiver import Receiver
from tests.live.sockets import drain, port, tcp_pair

THRESHOLD, UNREAD = 20_011, 30_011
KEPT = "monitor.c: nothing to compile: the bytecode was kept"


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    return tmp_path / "run" / "bytecode"


def works(start_monitor: StartMonitor, receiver: Receiver, before: Sequence[str] = ()) -> bool:
    """Start a monitor, see it report by hooks, stop it; return whether it compiled nothing."""
    receiver.told.clear()
    monitor = start_monitor(before=before, thresholds=thresholds(THRESHOLD), log="debug")
    with ExitStack() as stack:
        client, server = tcp_pair(stack)
        client.sendall(bytes(UNREAD))
        told = receiver.first(event="exceeded", local_port=port(server), type="RECV")
        assert told["mode"] == "ebpf"
        assert THRESHOLD < int(told["size"]) <= UNREAD  # loopback may deliver a write in segments
        drain(server, UNREAD)
        receiver.first(event="cleared", id=told["id"])
    assert monitor.stop() == 0
    return KEPT in monitor.log()


def test_a_restart_compiles_nothing(
    start_monitor: StartMonitor,
    receiver: Receiver,
    run: Path,
    tmp_path: Path,
) -> None:
    assert not works(start_monitor, receiver)
    assert works(start_monitor, receiver, with_bcc(tmp_path, 'raise SystemExit("there is no compiler")'))


def test_what_was_spoiled_is_compiled_again(
    start_monitor: StartMonitor, receiver: Receiver, run: Path
) -> None:
    run.parent.mkdir(mode=0o700)
    run.write_bytes(os.urandom(1009))
    assert not works(start_monitor, receiver)
    assert works(start_monitor, receiver)
    run.chmod(0o666)
    assert not works(start_monitor, receiver)
    assert works(start_monitor, receiver)
