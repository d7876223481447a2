# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The store as a child of the monitor: started, watched, started again when it dies, ended with it."""

from __future__ import annotations

import logging
import math
import os
import subprocess
import threading
import time
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from sockbpf.delivery.breaker import backoff_s
from sockbpf.monitor.store_port import StorePort
from sockbpf.process.isolated import command as isolated
from sockbpf.process.life import start_thread
from sockbpf.store.child import PATIENCE_S, StoreOrder

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sockbpf.counters import Counters
    from sockbpf.process.life import Pulse
    from sockbpf.settings.config import Config

log = logging.getLogger(__name__)

AGAIN_S, AGAIN_MAX_S = 1.0, 60.0
"""The pause from the store's end to its next start, longer each time that it did not live for `WELL_S`."""
WELL_S = 60.0
HOLD_AGAIN_S = 1.0
"""The pause between two tries to listen at the store's address."""
HOLD_LOGGED = 60
"""One in so many of these tries is logged, if it fails."""
REMEDY = """Remedy: end that process; or, if it is to get the alerts, `store: {listen: ""}`"""
STOP_S = PATIENCE_S + 1
KEPT = ("LANG", "LC_ALL", "LC_CTYPE", "TZ")
"""The variables of the environment that the store gets; others can hold secrets."""


@contextmanager
def running_store(config: Config, counters: Counters) -> Iterator[StoreProcess]:
    """Run the store within this block, if a destination's requests lead to it."""
    store = StoreProcess(config, counters)
    try:
        store.start_if_wanted(config)
        yield store
    finally:
        store.stop()


class StoreProcess:
    """The store as a process, with the monitor's own settings. Its log goes where the monitor's log goes."""

    def __init__(self, config: Config, counters: Counters) -> None:
        self._log, self._settings, self._counters = config.log, config.store, counters
        self._history_s = config.history.keep
        self.port = StorePort(config.store)
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None

    def start_if_wanted(self, config: Config) -> None:
        """Start the store, unless it was started or no destination's requests lead to it.

        Raise NoThreadError.
        """
        urls = [str(settings.url) for settings in config.destinations if settings.type == "http"]
        if self._thread is None and any(map(self.port.is_meant, urls)):
            self._hold()  # before anything is sent
            # The thread waits for the end of a process, however long that takes.
            self._thread = start_thread("store", self._run, limit_s=math.inf)

    def stop(self) -> None:
        """End the store; before that it writes the alerts that it has taken."""
        with self._lock:
            self._ended.set()
            process = self._process
        if process is not None:
            _end(process)
        self.port.close()

    def _hold(self, tries: int = 0) -> bool:
        """Return whether the monitor has the store's address now."""
        reason = self.port.hold()
        if reason:
            self._counters.add("store_address_taken")
            if tries % HOLD_LOGGED == 0:
                log.error("the store's address is not ours, alerts for it wait: %s. %s", reason, REMEDY)
        return not reason

    def _run(self, _: Pulse) -> None:
        tries = failures = 0
        while not self._hold(tries := tries + 1):
            if self._ended.wait(HOLD_AGAIN_S):
                return
        while True:
            begun_s = time.monotonic()
            with self._lock:
                if self._ended.is_set():
                    return
                self._process = self._start()
            code = self._process.wait() if self._process else -1
            if self._ended.is_set():
                return
            failures = 1 if time.monotonic() - begun_s > WELL_S else failures + 1
            wait_s = backoff_s(failures, AGAIN_S, AGAIN_MAX_S)
            log.warning("the store has ended, exit code %d; again in %.0f s", code, wait_s)
            if self._ended.wait(wait_s):
                return

    def _start(self) -> subprocess.Popen[bytes] | None:
        """Return the child; None if it cannot be started now: too many processes or files."""
        assert self.port.socket  # noqa: S101  it is held
        listener = self.port.socket.fileno()
        with suppress(OSError):
            process = subprocess.Popen(
                isolated("sockbpf", "store", "--child"),
                stdin=subprocess.PIPE,
                pass_fds=[listener],
                env={"PATH": os.defpath} | {name: os.environ[name] for name in KEPT if name in os.environ},
                cwd="/",
                # A session of its own: Ctrl-C must end only the monitor, which then still sends alerts to the store.
                start_new_session=True,
            )
            assert process.stdin  # noqa: S101  a pipe
            with suppress(BrokenPipeError):  # it has ended already
                process.stdin.write(
                    StoreOrder(self._log, self._settings, listener, self._history_s).to_bytes()
                )
                process.stdin.flush()
            return process
        return None


def _end(process: subprocess.Popen[bytes]) -> None:
    """Close the pipe, at which the store ends; kill it if it does not, where this process may do that."""
    with suppress(OSError):
        assert process.stdin  # noqa: S101  a pipe
        process.stdin.close()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        try:
            process.kill()
        except PermissionError:
            log.error("the store, pid %d, does not end, and this process may not kill it", process.pid)  # noqa: TRY400
