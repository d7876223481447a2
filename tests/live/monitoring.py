# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The monitor as a process of its own, the way an operator runs it."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.live.waiting import DEADLINE_S, until


@dataclass
class Monitor:
    """A running `sockbpf -c …`; its log is a file."""

    process: subprocess.Popen[bytes]
    log_file: Path
    ready_file: Path
    started: float

    @property
    def pid(self) -> int:
        return self.process.pid

    def log(self) -> str:
        """Return the lines it has written whole: one may be read while it is written."""
        return "".join(self.log_file.read_text(errors="replace").rpartition("\n")[:2])

    def wait_armed(self) -> None:
        def armed() -> bool:
            if self.process.poll() is not None:
                pytest.fail(f"the monitor exited {self.process.returncode}:\n{self.log()}")
            return self.ready_file.exists()

        until(armed, "monitor armed", 300)
        print(f"armed after {time.monotonic() - self.started:.1f} s")

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Signal it, wait for its end, return its exit code."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(DEADLINE_S)

    def counters(self) -> dict[str, int]:
        """Return the counters of its last line that has them: stop it first, or use `counted`."""
        lines = [line for line in self.log().splitlines() if " stopped, " in line or " counters: " in line]
        return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", lines[-1])}

    def counted(self) -> dict[str, int]:
        """Return the counters as they stand, of a line that is there to its end."""

        def shown() -> int:
            return len(re.findall(r" counters: .*\n", self.log()))

        before = shown()
        os.kill(self.pid, signal.SIGUSR1)
        until(lambda: shown() > before, "the counters in the log")
        return self.counters()


def sockbpf(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "sockbpf", *arguments]


KERNEL = {key: os.environ.get(f"SOCKBPF_{key.upper()}", "auto") for key in ("hooks", "types")}
"""What of the `kernel` settings the tests run with: SOCKBPF_HOOKS and SOCKBPF_TYPES of the environment."""


BLOCKED_UNSEEN = "a sender blocked inside one call"
"""What the log says on kernels whose tracepoints alone do not see it."""


def thresholds(size: int) -> dict[str, int]:
    """Return the same threshold, bytes, for both directions."""
    return {"send": size, "recv": size}


def launch(folder: Path, url: str, settings: dict[str, Any], before: Sequence[str] = ()) -> Monitor:
    """Start a monitor with its files in `folder`; settings are given as config.yaml has them.

    `before` is a command that starts it, such as one that takes rights away.
    """
    folder.mkdir()
    config, ready, log = folder / "config.yaml", folder / "ready", folder / "log"
    defaults = {"url": url, "events": ["exceeded", "ongoing", "cleared"], "clear_ratio": 1, "kernel": KERNEL}
    defaults |= {"flapping": {"above": 0}, "fold": {"above": 0}}  # tests count each crossing
    defaults["listeners"] = {"backlog": 0}  # those of other tests may be full
    defaults["stalled"] = {"after": "0s"}  # tests leave queues full on purpose, under load for long
    defaults["rates"] = {}  # datagrams that tests drop are no news
    defaults["status"] = {"socket": "none"}  # several run at once, and pytest's folders have long names
    defaults["journal"] = {"path": str(folder / "journal")}
    config.write_text(yaml.safe_dump(defaults | settings))
    with log.open("wb") as sink:
        process = subprocess.Popen(
            [*before, *sockbpf("-c", str(config), "--ready-file", str(ready), "--beside")],
            stdout=sink,
            stderr=sink,
        )
    return Monitor(process, log, ready, time.monotonic())


def with_bcc(folder: Path, text: str) -> list[str]:
    """Return the command that runs another with such a module in place of BCC; made in `folder`."""
    real = find_spec("bcc")
    assert real
    assert real.origin
    shim = folder / "bcc"
    shim.mkdir()
    (shim / "__init__.py").write_text(f"{text}\n")
    over = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'
    return ["unshare", "--mount", "sh", "-c", over, "sh", str(shim), str(Path(real.origin).parent)]


def compilers(pid: int) -> list[int]:
    """Return the compiling processes that this monitor has started and not ended yet."""
    found = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):  # it has ended
            if entry.name.isdigit() and b"sockbpf.kernel.build.clang" in (entry / "cmdline").read_bytes():
                stat = (entry / "stat").read_text()
                if int(stat.rpartition(")")[2].split()[1]) == pid:
                    found.append(int(entry.name))
    return found


@contextmanager
def stopped(monitor: Monitor) -> Iterator[None]:
    """Stop a monitor for as long as the block takes: none of its looks comes between what is done there."""
    monitor.process.send_signal(signal.SIGSTOP)
    os.waitpid(monitor.pid, os.WUNTRACED)
    try:
        yield
    finally:
        monitor.process.send_signal(signal.SIGCONT)


StartMonitor = Callable[..., Monitor]
"""`start_monitor(armed=True, before=(), **settings)`, the fixture."""


def start(config: Path, stack: ExitStack, before: list[str] | None = None) -> Monitor:
    """Start a monitor with its files beside its configuration."""
    log, ready = config.with_suffix(".log"), config.with_suffix(".ready")
    command = [*(before or []), *sockbpf("-c", str(config), "--ready-file", str(ready), "--beside")]
    with log.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink)
    stack.callback(process.wait)
    stack.callback(process.kill)
    return Monitor(process, log, ready, time.monotonic())
