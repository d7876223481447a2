# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Killed at any instant the monitor leaves nothing behind, and the next one starts as if it had never been.

50 times under load: SIGKILL at a random moment of its start or of its work. Each time no process is left, no compiler
goes on, no program and no table of ours stays loaded, and the ready file that was left does not deceive the next
start. The last one arms and reports.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from contextlib import ExitStack, suppress
from functools import partial
from pathlib import Path

import pytest
import yaml

from tests.live.bpf import bpf_ids, loaded
from tests.live.load import UNREAD
from tests.live.monitoring import compilers, sockbpf, thresholds
from tests.live.receiver import Receiver
from tests.live.sockets import drain, port, tcp_pair
from tests.live.waiting import until, wait_until

pytestmark = pytest.mark.usefixtures("compiling")

THRESHOLD = 20_011
KILLS = 50
LONGEST_S = (2.5, 0.5)
SEED = 1759
ORPHANED = 1
"""Whose child a process is when its own parent is dead."""


def held(kind: str) -> set[int]:
    """Return the ids of all such objects that a living process holds."""
    return {
        number
        for name in os.listdir("/proc")
        if name.isdigit()
        for number in bpf_ids(int(name), f"{kind}_id")
    }


def orphans(kind: str) -> set[int]:
    """Return what is loaded and nobody's; looked at in this order, other monitors' objects are somebody's."""
    return loaded(kind) - held(kind)


def of_folder(folder: Path) -> list[str]:
    """Return the processes whose command line names the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdigit() and str(folder).encode() in (entry / "cmdline").read_bytes():
                found.append(entry.name)
        except OSError:  # it has ended
            continue
    return found


def is_armed(ready: Path, stale_ns: int) -> bool:
    with suppress(FileNotFoundError):  # the stale one goes when a monitor starts
        return ready.stat().st_mtime_ns != stale_ns
    return False


@pytest.mark.timeout(900)
def test_sigkill(receiver: Receiver, stack: ExitStack, tmp_path: Path) -> None:
    chance = random.Random(SEED)
    config, ready, log = tmp_path / "config.yaml", tmp_path / "ready", tmp_path / "log"
    settings = {
        "url": receiver.url,
        "thresholds": thresholds(THRESHOLD),
        "events": ["exceeded", "cleared"],
        "journal": {"path": str(tmp_path / "journal")},
    }
    config.write_text(yaml.safe_dump(settings))
    load = stack.enter_context(
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                "from tests.live.load import load_without_end; load_without_end()",
            ],
            stdout=subprocess.PIPE,
        )
    )
    stack.callback(load.kill)
    assert load.stdout
    load.stdout.readline()
    sink = stack.enter_context(log.open("ab"))
    before = {kind: orphans(kind) for kind in ("prog", "map")}

    def is_left() -> bool:
        return any(orphans(kind) - known for kind, known in before.items())

    def start() -> subprocess.Popen[bytes]:
        command = sockbpf("-c", str(config), "--ready-file", str(ready), "--beside")
        return subprocess.Popen(command, stdout=sink, stderr=sink)

    armed = loading = 0
    for number in range(KILLS):
        sink.truncate(0)
        stale_ns = ready.stat().st_mtime_ns if ready.exists() else 0
        monitor = start()
        stack.callback(monitor.kill)
        works = number % 5 == 0
        if works:  # every fifth while it works, however long the start takes on this machine
            until(partial(is_armed, ready, stale_ns), "armed")
        wait_until(time.monotonic() + chance.uniform(0, LONGEST_S[works]))
        fresh = is_armed(ready, stale_ns)
        armed += fresh
        loading += bool(compilers(monitor.pid) or bpf_ids(monitor.pid, "prog_id")) and not fresh
        assert monitor.poll() is None, log.read_text()
        monitor.send_signal(signal.SIGKILL)
        assert monitor.wait() == -signal.SIGKILL
        until(lambda: not of_folder(tmp_path), "no process of it goes on")  # one may be between fork and exec
    until(lambda: not compilers(ORPHANED), "no compiler goes on")
    until(lambda: not is_left(), "nothing of ours loaded")
    assert loading, "none was killed while it compiled"
    print(
        f"killed {KILLS}: {armed} armed, {loading} while loading and attaching, {KILLS - armed - loading} earlier"
    )
    assert armed >= KILLS // 5

    load.kill()  # else the queue of alerts is full, and ours may be dropped
    ready.unlink(missing_ok=True)
    monitor = start()
    stack.callback(monitor.kill)
    until(ready.exists, "armed once more")
    client, server = tcp_pair(stack)
    client.sendall(bytes(UNREAD))
    told = receiver.first(event="exceeded", local_port=port(server), type="RECV")
    assert told["mode"] == "ebpf"
    assert THRESHOLD < int(told["size"]) <= UNREAD  # loopback may deliver a write in segments
    drain(server, UNREAD)
    receiver.first(event="cleared", id=told["id"])
    monitor.terminate()
    assert monitor.wait(30) == 0
    until(lambda: not is_left(), "nothing of ours loaded")
    assert not ready.exists()
