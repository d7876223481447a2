"""The monitor as a process: its signals, its ready file, its service manager."""

from __future__ import annotations

import signal
import sys
from typing import TYPE_CHECKING

from sockbpf.arming import need_root
from sockbpf.config import load
from sockbpf.monitor import Monitor
from sockbpf.service import Service
from sockbpf.store_process import running_store

if TYPE_CHECKING:
    from pathlib import Path

    from sockbpf.config import Config

SWITCH_S = 0.0005
"""How long one thread may keep the others waiting: the default, 5 ms, is what a request would be late."""


def watch(config: Config, config_file: Path, ready_file: Path | None) -> int:
    """Run the monitor, and the store if alerts go there, until SIGTERM (return 0) or SIGINT (return 130).

    SIGHUP has the monitor read its settings again.
    """
    need_root()
    if ready_file:
        ready_file.unlink(missing_ok=True)
    monitor: Monitor | None = None
    code = 0

    def on_signal(number: int, _frame: object) -> None:
        nonlocal code
        code = 130 if number == signal.SIGINT else 0
        if monitor is None:  # still loading: nothing is attached that the kernel does not detach with us
            raise SystemExit(code)
        monitor.stop()

    def on_show(*_: object) -> None:
        if monitor is not None:
            monitor.show()

    def on_reload(*_: object) -> None:
        if monitor is not None:
            monitor.reload()

    signal.signal(signal.SIGTERM, on_signal)
    signal.signal(signal.SIGINT, on_signal)
    signal.signal(signal.SIGUSR1, on_show)
    signal.signal(signal.SIGHUP, on_reload)
    sys.setswitchinterval(SWITCH_S)
    service = Service()
    with running_store(config, config_file):
        monitor = Monitor(config, service, lambda: load(config_file))
        try:
            monitor.run(lambda: ready_file.touch() if ready_file else None)
        finally:
            service.stopping()
            monitor.close()
            if ready_file:
                ready_file.unlink(missing_ok=True)
    return code
