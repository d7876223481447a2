# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What signals ask of the monitor, from the process's first line to its end."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from sockbpf.process import life

if TYPE_CHECKING:
    from typing import Protocol

    class Monitor(Protocol):
        """What can be asked for; each from a signal handler."""

        def stop(self) -> None: ...
        def show(self) -> None: ...
        def reload(self) -> None: ...


STOP_S = 15.0
"""A stop may take so long: what is owed is offered once more, the store writes what it has taken."""

HELD = (signal.SIGHUP, signal.SIGUSR1)
"""Signals that would end a process that knows nothing of them yet."""


def hold() -> None:
    """Have the kernel keep what a starting process is asked until there is a monitor that can be asked."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)


def let_go() -> None:
    """Hear them again, as a process that is no monitor does."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


class StoppedError(BaseException):
    """The signal to end came while there was nothing to tell it to."""


class Signals:
    """What signals ask for. Those that the start must not hear yet wait in the kernel, see `hold`."""

    def __init__(self) -> None:
        self._monitor: Monitor | None = None
        self.code: int | None = None
        """What the process is to exit with, once it was told to end."""

    def install(self) -> None:
        signal.signal(signal.SIGTERM, self._on_end)
        signal.signal(signal.SIGINT, self._on_end)
        signal.signal(signal.SIGUSR1, self._on_show)
        signal.signal(signal.SIGHUP, self._on_reload)

    def are_for(self, monitor: Monitor) -> None:
        """Tell the monitor from now on, also of what came before."""
        self._monitor = monitor
        if self.code is not None:  # it came where nothing can be raised
            monitor.stop()
        let_go()

    def _on_end(self, number: int, _: object) -> None:
        is_first = self.code is None
        self.code = 130 if number == signal.SIGINT else 0
        if is_first:
            life.end_by(STOP_S)
        if self._monitor is not None:
            self._monitor.stop()
        elif (
            is_first
        ):  # what is attached the kernel detaches with us, and what was started is ended on the way out
            raise StoppedError

    def _on_show(self, *_: object) -> None:
        if self._monitor is not None:
            self._monitor.show()

    def _on_reload(self, *_: object) -> None:
        if self._monitor is not None:
            self._monitor.reload()
