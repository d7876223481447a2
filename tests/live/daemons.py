# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Programs that take alerts or handle their files, started as people run them; and the alerts sent to them."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.live.waiting import DEADLINE_S

TOLD = {
    "timestamp": "1795343123.482913", "event": "exceeded", "protocol": "tcp", "local_ip": "10.0.0.1",
    "local_port": "80", "remote_ip": "2001:db8::1", "remote_port": "40000", "type": "SEND", "size": "9",
    "threshold": "8", "peak": "9", "duration": "0", "id": "e", "seq": "7", "host": "h.example",
    "netns": "4026531840", "mode": "ebpf", "pid": "4711", "comm": "nginx",
}  # fmt: skip
HEARTBEAT = {"event": "heartbeat", "timestamp": "1795343123.000001", "host": "h", "seq": "7", "alerts": "12"}


def program(name: str) -> str:
    """Return its path, also where only root has it on the PATH."""
    found = shutil.which(name) or shutil.which(name, path="/usr/sbin:/sbin")
    return found or pytest.skip(f"{name} is not installed")


@contextmanager
def running(
    *command: str | Path, log: Path, patience_s: float = DEADLINE_S
) -> Iterator[subprocess.Popen[bytes]]:
    """Run it; at the end it is asked to end, and killed with all of its children if it has not after so long."""
    with (
        log.open("ab") as output,
        subprocess.Popen(command, stdout=output, stderr=output, start_new_session=True) as process,
    ):
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(patience_s)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
            print(f"--- {command[0]} ---\n{log.read_text(errors='replace')[-5000:]}")
