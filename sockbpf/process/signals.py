# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Signals: to stop, to log the counters, to read the settings again; from the process's start to its end."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from sockbpf.process import life

if TYPE_CHECKING:
    from typing import Protocol

    class Monitor(Protocol):
        """The calls that signals make; a signal handler makes them."""

        def stop(self) -> None: ...
        def show(self) -> None: ...
        def reload(self) -> None: ...


STOP_S = 15.0
"""The longest time for a stop: owed alerts are tried once more, the store writes the alerts that it has taken."""

HELD = (signal.SIGHUP, signal.SIGUSR1)
"""Signals that end a process which has no handlers for them yet."""


def hold() -> None:
    """Block these signals: the kernel keeps them until there is a monitor that can act on them."""
    signal.pthread_sigmask(signal.SIG_BLOCK, HELD)


def let_go() -> None:
    """Unblock these signals."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, HELD)


class StoppedError(BaseException):
    """The signal to stop came before there was a monitor."""


class Signals:
    """The handlers of the signals. Those that must not reach the start wait in the kernel, see `hold`."""

    def __init__(self) -> None:
        self._monitor: Monitor | None = None
        self.code: int | None = None
        """The exit code of the process, once a signal to stop came."""

    def install(self) -> None:
        signal.signal(signal.SIGTERM, self._on_end)
        signal.signal(signal.SIGINT, self._on_end)
        signal.signal(signal.SIGUSR1, self._on_show)
        signal.signal(signal.SIGHUP, self._on_reload)

    def are_for(self, monitor: Monitor) -> None:
        """Hand signals to this monitor from now on, and those that came before."""
        self._monitor = monitor
        if self.code is not None:  # a signal to stop came where StoppedError could not be raised
            monitor.stop()
        let_go()

    def _on_end(self, number: int, _: object) -> None:
        is_first = self.code is None
        self.code = 130 if number == signal.SIGINT else 0
        if is_first:
            life.end_by(STOP_S)
        if self._monitor is not None:
            self._monitor.stop()
        elif is_first:
            # The kernel detaches hooks as the process ends; child processes are ended on the way out.
            raise StoppedError

    def _on_show(self, *_: object) -> None:
        if self._monitor is not None:
            self._monitor.show()

    def _on_reload(self, *_: object) -> None:
        if self._monitor is not None:
            self._monitor.reload()
