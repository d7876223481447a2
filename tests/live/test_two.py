# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A second monitor of one host, or of one journal, says whose it is and ends; the first one's end lets it start.

Each has a /run of its own, a folder that only these monitors share: others may watch this host meanwhile.
"""

from __future__ import annotations

import os
import signal
import stat
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.live.monitoring import Monitor, sockbpf
from tests.live.receiver import Receiver
from tests.live.waiting import until

NOBODY = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]


class Host:
    """Starts monitors that see one /run."""

    def __init__(self, folder: Path, url: str, stack: ExitStack) -> None:
        self.folder = folder
        self.run = folder / "run"
        self.run.mkdir(mode=0o755)
        self._url = url
        self._stack = stack
        self._started = 0

    def start(self, *flags: str, journal: str = "journal", before: tuple[str, ...] = ()) -> Monitor:
        self._started += 1
        folder = self.folder / f"monitor{self._started}"
        folder.mkdir()
        config, ready, log = folder / "config.yaml", folder / "ready", folder / "log"
        settings: dict[str, Any] = {"url": self._url, "thresholds": {"send": "1GiB", "recv": "1GiB"}}
        settings["journal"] = {"path": str(self.folder / journal) if journal != "none" else "none"}
        settings["kernel"] = {"hooks": "none"}
        config.write_text(yaml.safe_dump(settings))
        inside = f'mount --bind {self.run} /run && exec "$@"'
        command = sockbpf("-c", str(config), "--ready-file", str(ready), *flags)
        with log.open("wb") as sink:
            process = subprocess.Popen(
                ["unshare", "--mount", "sh", "-c", inside, "sh", *before, *command], stdout=sink, stderr=sink
            )
        self._stack.callback(process.wait)
        self._stack.callback(process.kill)
        return Monitor(process, log, ready, 0.0)

    def refused(self, *flags: str, journal: str) -> str:
        """Start one that does not stay; return what it said."""
        monitor = self.start(*flags, journal=journal)
        assert monitor.process.wait(60) == 3, monitor.log()
        assert not monitor.ready_file.exists()
        assert "Traceback" not in monitor.log()
        return monitor.log()


@pytest.fixture
def host(tmp_path: Path, receiver: Receiver, stack: ExitStack) -> Host:
    return Host(tmp_path, receiver.url, stack)


def armed(monitor: Monitor) -> None:
    until(lambda: monitor.ready_file.exists() or monitor.process.poll() is not None, "armed", 120)
    assert monitor.process.poll() is None, monitor.log()


def test_a_second_one_of_one_host(host: Host) -> None:
    first = host.start(journal="first")
    armed(first)
    lock = host.run / "sockbpf" / "monitor.lock"
    assert [stat.S_IMODE(at.stat().st_mode) for at in (lock.parent, lock)] == [0o700, 0o600]
    said = host.refused(journal="second")
    assert f"another monitor watches this host, process {first.pid}. Remedy: " in said
    assert "--beside" in said
    armed(host.start("--beside", journal="second"))
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGSEGV):
        first.stop(number)
        first = host.start(journal="first")
        armed(first)


def test_a_second_one_of_one_journal(host: Host) -> None:
    first = host.start(journal="one")
    armed(first)
    said = host.refused("--beside", journal="one")
    assert f"another sockbpf has it, process {first.pid}. Remedy: " in said
    assert str(host.folder / "one") in said
    first.stop(signal.SIGKILL)
    armed(host.start("--beside", journal="one"))


def test_the_lock_is_held_by_no_child(host: Host) -> None:
    """The compiler and the store outlive a killed monitor for a moment: they must not keep the next one out."""
    first = host.start(journal="none")
    armed(first)
    held = {os.readlink(fd) for fd in Path(f"/proc/{first.pid}/fd").iterdir()}
    assert any(path.endswith("monitor.lock") for path in held)
    for fd in Path(f"/proc/{first.pid}/fdinfo").iterdir():
        target = os.readlink(f"/proc/{first.pid}/fd/{fd.name}")
        if target.endswith(("monitor.lock", "journal.lock", "journal")):
            flags = int(
                next(line for line in fd.read_text().splitlines() if line.startswith("flags")).split()[1], 8
            )
            assert flags & os.O_CLOEXEC


def test_nobody_can_take_the_place(host: Host, tmp_path: Path) -> None:
    """Not before the first start, since /run is root's; not after it, since the folder is the monitor's alone."""
    first = host.start(journal="none")
    armed(first)
    first.stop()
    tmp_path.chmod(0o755)
    for folder in (tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    lock = host.run / "sockbpf" / "monitor.lock"
    tried = subprocess.run(
        [*NOBODY, "flock", "-n", str(lock), "true"], capture_output=True, text=True, check=False
    )
    assert "Permission denied" in tried.stderr
    armed(host.start(journal="none"))


def test_a_host_where_nothing_can_be_written_is_watched(host: Host) -> None:
    (host.run / "sockbpf").write_text("a file where the folder should be")
    first = host.start(journal="none")
    armed(first)
    assert "cannot find out whether another monitor watches this host" in first.log()
