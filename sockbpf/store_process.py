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
from sockbpf.isolated import command as isolated
from sockbpf.life import start_thread
from sockbpf.store.settings import leads_to

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from sockbpf.config import Config
    from sockbpf.life import Pulse

log = logging.getLogger(__name__)

AGAIN_S, AGAIN_MAX_S = 1.0, 60.0
"""From its end to the next start, longer each time that it did not live for `WELL_S`."""
WELL_S = 60.0
STOP_S = 8.0


def is_wanted(config: Config) -> bool:
    """Whether a destination's requests lead to the store: one that nobody sends to is not started."""
    urls = [str(its.url) for its in config.destinations if its.type == "http"]
    return any(leads_to(url, config.store.listen) for url in urls)


@contextmanager
def running_store(config: Config, config_file: Path) -> Iterator[None]:
    """Have the store run, if alerts go there."""
    if not is_wanted(config):
        yield
        return
    store = StoreProcess(config_file)
    store.start()
    try:
        yield
    finally:
        store.stop()


class StoreProcess:
    """`sockbpf store` with the monitor's own configuration. What it logs goes where the monitor's log goes."""

    def __init__(self, config_file: Path) -> None:
        self._command = isolated(
            "sockbpf", "store", "-c", str(config_file.absolute()), "--child-of", str(os.getpid())
        )
        self._ended = threading.Event()
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def start(self) -> None:
        """Raise NoThreadError."""
        start_thread("store", self._run, limit_s=math.inf)  # it waits for the end of a process

    def stop(self) -> None:
        """End it: it writes what it has taken first."""
        with self._lock:
            self._ended.set()
            process = self._process
        if process is None:
            return
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()

    def _run(self, _: Pulse) -> None:
        failures = 0
        while True:
            begun_s = time.monotonic()
            with self._lock:
                if self._ended.is_set():
                    return
                with suppress(OSError):  # too many processes: later, then
                    # A session of its own: Ctrl-C is for the monitor, which has something to send it yet.
                    self._process = subprocess.Popen(
                        self._command, stdin=subprocess.DEVNULL, start_new_session=True
                    )
            code = self._process.wait() if self._process else -1
            if self._ended.is_set():
                return
            failures = 1 if time.monotonic() - begun_s > WELL_S else failures + 1
            wait_s = backoff_s(failures, AGAIN_S, AGAIN_MAX_S)
            log.warning("the store has ended, exit code %d; again in %.0f s", code, wait_s)
            if self._ended.wait(wait_s):
                return
