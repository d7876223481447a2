# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The monitor at rest is small: the compiler and its libraries are gone once the programs are loaded."""

from __future__ import annotations

import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.live.monitoring import Monitor, StartMonitor, compilers, thresholds
from tests.live.ports import free_port
from tests.live.receiver import Receiver
from tests.live.sockets import drain, port, tcp_pair

pytestmark = pytest.mark.usefixtures("compiling")

MOST_BYTES = 60_000_000
THRESHOLD, UNREAD = 20_011, 30_011
TIMES = 101


def memory(pid: int) -> dict[str, int]:
    """Return what the kernel counts of a process, bytes, as /proc/PID/smaps_rollup names it."""
    said = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {name: int(kb) * 1024 for name, kb in re.findall(r"^(\w+): +(\d+) kB$", said, re.MULTILINE)}


def libraries(pid: int) -> set[str]:
    maps = Path(f"/proc/{pid}/maps").read_text()
    return set(re.findall(r"/([^/\n]+\.so[^/\n]*)$", maps, re.MULTILINE))


def assert_light(monitor: Monitor) -> None:
    assert not compilers(monitor.pid)
    mapped = libraries(monitor.pid)
    assert any(name.startswith("libbcc_bpf.so") for name in mapped), "it does not watch by hooks"
    assert not [name for name in mapped if re.match(r"libbcc\.so|libLLVM|libclang", name)]
    taken = memory(monitor.pid)
    print(f"RSS {taken['Rss'] / 1e6:.1f} MB, PSS {taken['Pss'] / 1e6:.1f} MB")
    assert taken["Pss"] <= taken["Rss"] < MOST_BYTES


def test_light_at_rest(
    start_monitor: StartMonitor, receiver: Receiver, stack: ExitStack, tmp_path: Path
) -> None:
    """With all that it can do turned on: before it has told anything, and after."""
    monitor = start_monitor(
        thresholds=thresholds(THRESHOLD),
        metrics={"listen": f"127.0.0.1:{free_port()}"},
        destinations=[{"type": "file", "path": str(tmp_path / "alerts.jsonl")}],
    )
    assert_light(monitor)
    client, server = tcp_pair(stack)
    for _ in range(TIMES):
        client.sendall(bytes(UNREAD))
        drain(server, UNREAD)
    receiver.count(TIMES, event="cleared", local_port=port(server), type="RECV")
    assert_light(monitor)
