# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Knows the names of containers, where the settings say who has them: a thread reads, the loop never waits for it."""

from __future__ import annotations

import logging
import threading
import time
from typing import TYPE_CHECKING

from sockbpf.kernel.look.container_names import read_names
from sockbpf.process.life import REST_S, start_thread
from sockbpf.record.cgroup import container_of, shown_container

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from sockbpf.process.life import Pulse
    from sockbpf.record.socket_row import Whose

log = logging.getLogger(__name__)

APART_S = 1.0
"""From one reading to the next at least, however many containers are not known."""


class ContainerNames:
    """Names by id. `prepare`, `use` and `name` are for the loop's thread."""

    def __init__(self) -> None:
        self._path: Path | None = None
        self._names: Mapping[str, str] = {}
        self._wanted = threading.Event()
        self._thread: threading.Thread | None = None
        self._said = ""
        """Why the names could not be read, as the log has it already."""

    def prepare(self, path: Path | None) -> None:
        """Start the thread if names will be read from there. Raise NoThreadError."""
        if path and self._thread is None:
            self._thread = start_thread("container names", self._run, restart_helps=False)

    def use(self, path: Path | None) -> None:
        """Read names there from now on; None: nowhere."""
        if path != self._path:
            self._path, self._names = path, {}
            self._wanted.set()

    def name(self, whose: Whose) -> str:
        """Return the name of the container of a process; empty while it is not known, and then it is looked for."""
        if self._path is None:
            return ""
        container = container_of(whose.home)
        name = self._names.get(shown_container(container), "")
        if container and not name:
            self._wanted.set()
        return name

    def _run(self, pulse: Pulse) -> None:
        while True:
            self._wanted.wait(REST_S)  # unasked too: so the first alert about a container has its name
            self._wanted.clear()
            pulse.beat()
            if path := self._path:
                self._read(path)
            time.sleep(APART_S)

    def _read(self, path: Path) -> None:
        try:
            names = read_names(path)
        except (OSError, ValueError) as fault:
            said = f"{path}: {(isinstance(fault, OSError) and fault.strerror) or fault}"
            if said != self._said:
                log.warning("the names of containers cannot be read, alerts have their ids alone: %s", said)
            self._said = said
            return
        self._said = ""
        if path == self._path:
            self._names = names
