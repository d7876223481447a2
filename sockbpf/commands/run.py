# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The monitor as a process: its parts, its ready file, its end."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from typing import TYPE_CHECKING

from sockbpf.counters import Counters
from sockbpf.kernel.attach.arm import need_root
from sockbpf.monitor.build import build
from sockbpf.monitor.service import Service
from sockbpf.monitor.store_child import running_store
from sockbpf.process import life, logs
from sockbpf.process.limits import have_files
from sockbpf.process.only_one import only_one
from sockbpf.process.signals import Signals, StoppedError
from sockbpf.settings.config import load

if TYPE_CHECKING:
    from pathlib import Path

    from sockbpf.monitor.loop import Monitor
    from sockbpf.settings.config import Config

SWITCH_S = 0.0005
"""How long one thread may keep the others waiting: with the default, 5 ms, requests would be late by as much."""


def watch(config: Config, config_file: Path, ready_file: Path | None, *, beside: bool = False) -> int:
    """Run the monitor, and the store if alerts go there, until SIGTERM (return 0) or SIGINT (return 130).

    SIGHUP makes the monitor read its settings again, once its start is over. Raise UnsupportedError when another
    monitor watches this host, unless this one is to run `beside` it.
    """
    need_root()
    have_files(len(config.destinations) * config.delivery.workers)
    counters, service, signals = Counters(), Service(), Signals()
    life.begin(counters, (service.status, logs.last_word))
    sys.setswitchinterval(SWITCH_S)
    with life.ending("main"):
        try:
            signals.install()
            if ready_file:
                ready_file.unlink(missing_ok=True)
            with nullcontext() if beside else only_one(), running_store(config, counters) as store:
                monitor = build(config, counters, service, store, lambda: load(config_file))
                signals.are_for(monitor)
                _run(monitor, service, ready_file)
        except StoppedError:
            pass
    return signals.code or 0


def _run(monitor: Monitor, service: Service, ready_file: Path | None) -> None:
    try:
        monitor.run(lambda: ready_file.touch() if ready_file else None)
    finally:
        service.stopping()
        monitor.close()
        if ready_file:
            ready_file.unlink(missing_ok=True)
