# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Whether the process can go on: the one place that decides what an exception in a long-lived thread means.

If the handling of one alert fails, that alert is set aside: `setting_aside`. Any other exception that leaves a thread
ends the process: `end` logs one line with the exception and its place, the exit code is 1, and owed alerts stay in
the journal for the next start. A thread without a sign of life within its limit is logged, and while `late` names it,
the service manager's watchdog is not notified.

This module keeps what a process has once: its ending and its set of threads. Without a call of `begin`, as in a test
of a part, an exception leaves its thread as it leaves any other.
"""

from __future__ import annotations

import logging
import math
import os
import signal
import sys
import threading
import time
import traceback
from contextlib import contextmanager, suppress
from pathlib import PurePath
from typing import TYPE_CHECKING, NoReturn

from sockbpf.errors import SockbpfError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from sockbpf.counters import Counters

log = logging.getLogger(__name__)

REST_S = 10.0
"""A thread that waits for work shows at least this often that it lives: `Pulse.beat`."""

ROUND_S = 60.0
"""The longest time from one sign of life of a thread to the next, unless the thread names another one."""

LOOK_S = 1.0
"""The interval between two looks at the threads."""

END_S = 0.8
"""The process ends after so long even if its last line cannot be written: a pipe, a disk, a thread hangs."""

PLACES = 3
"""So many of the calls that led to an exception are logged, the innermost."""


class NoThreadError(SockbpfError):
    """A thread cannot be started: too many processes, or too little memory, for this user or this control group."""

    def __init__(self, name: str) -> None:
        super().__init__(
            f"the thread {name} cannot be started: there may be no more of them. "
            "Remedy: ulimit -u, TasksMax= of the service, pids.max of the control group, or more memory"
        )


class Pulse:
    """The sign of life of one long-lived thread, which calls `beat` at least every `limit_s` seconds.

    `restart_helps` says whether the thread of a new process would work; a disk that hangs, hangs for that one too.
    """

    def __init__(self, name: str, limit_s: float = ROUND_S, *, restart_helps: bool = True) -> None:
        self.name = name
        self.limit_s = limit_s
        self.restart_helps = restart_helps
        self._beat_s = time.monotonic()

    def beat(self) -> None:
        """Give a sign of life: the thread goes on to its next piece of work."""
        self._beat_s = time.monotonic()

    def is_late(self, now_s: float) -> bool:
        return now_s - self._beat_s > self.limit_s


class _Ending:
    """The thread `lookout`: it watches the other threads, and makes sure that an ending process ends in time."""

    def __init__(self, counters: Counters, say: Iterable[Callable[[str], None]]) -> None:
        self.counters = counters
        self._say = tuple(say)
        self._is_ending = threading.Event()
        self._by_s = math.inf
        self._stop_line = ""
        self._late: set[str] = set()
        self._first = threading.Lock()

    def run(self, pulse: Pulse) -> None:
        while True:
            pulse.beat()
            self._is_ending.wait(max(0.0, min(LOOK_S, self._by_s - time.monotonic())))
            if time.monotonic() < self._by_s:
                self._look()
            elif self._stop_line:
                self.now(f"{self._stop_line}: {', '.join(pulse.name for pulse in _threads())}")
            else:
                os._exit(1)

    def stop_by(self, by_s: float, line: str) -> None:
        """End the process at this time, monotonic seconds, with this line, if it has not ended before.

        A signal handler may call this: it takes no lock, the thread sees the new time by itself.
        """
        self._stop_line = line
        self._by_s = by_s

    def now(self, line: str) -> NoReturn:
        """Give the line to each of `say`, and end the process; a second thread that calls this waits for the end."""
        if not self._first.acquire(blocking=False):
            while True:
                time.sleep(END_S)
        try:
            # The kernel ends the process if `lookout` itself hangs or has ended.
            signal.setitimer(signal.ITIMER_REAL, END_S + 1)
            self._by_s, self._stop_line = time.monotonic() + END_S, ""
            self._is_ending.set()
            for say in self._say:
                with suppress(BaseException):
                    say(line)
        finally:
            os._exit(1)

    def _look(self) -> None:
        if self._is_ending.is_set():
            return
        now_s = time.monotonic()
        late = {pulse.name: pulse for pulse in _threads() if pulse.is_late(now_s)}
        for name in late.keys() - self._late:
            self.counters.add("late")
            log.error(
                "the thread %s hangs: no sign of life for %g s%s",
                name, late[name].limit_s,
                "; until there is one the service manager's watchdog is not notified, and may restart sockbpf"
                if late[name].restart_helps
                else "",
            )  # fmt: skip
        for name in self._late - late.keys():
            log.warning("the thread %s goes on, or has ended", name)
        self._late = set(late)


_pulses: set[Pulse] = set()
_pulses_lock = threading.Lock()
_ending: _Ending | None = None


def begin(counters: Counters, say: Iterable[Callable[[str], None]]) -> None:
    """From now on every exception that leaves a thread ends the process, with a line given to each of `say`.

    Raise NoThreadError.
    """
    global _ending  # noqa: PLW0603  the process ends once
    _ending = _Ending(counters, say)
    sys.unraisablehook = _on_unheard
    threading.excepthook = lambda args: end(args.thread.name if args.thread else "?", args.exc_value)
    start_thread("lookout", _ending.run)


def _on_unheard(unheard: sys.UnraisableHookArgs) -> None:
    """Take an exception that was raised where no caller can catch it: in a callback from C, in a destructor."""
    error = unheard.exc_value
    if isinstance(error, Exception) and not isinstance(error, MemoryError):
        log.error("ignored: %s", described(error))
        if _ending:
            _ending.counters.add("ignored")
    else:
        end(threading.current_thread().name, error)


def start_thread(
    name: str, run: Callable[[Pulse], None], *, limit_s: float = ROUND_S, restart_helps: bool = True
) -> threading.Thread:
    """Start a daemon thread; an exception that leaves `run` ends the process. Raise NoThreadError.

    `run` is called with a pulse, and must call its `beat` again and again, at least every `limit_s` seconds.
    """
    pulse = Pulse(name, limit_s, restart_helps=restart_helps)
    thread = threading.Thread(target=_run, args=(pulse, run), name=name, daemon=True)
    try:
        thread.start()
    except (RuntimeError, MemoryError) as fault:
        raise NoThreadError(name) from fault
    return thread


def _run(pulse: Pulse, run: Callable[[Pulse], None]) -> None:
    with living(pulse):
        run(pulse)


@contextmanager
def ending(name: str) -> Iterator[None]:
    """End the process if an exception leaves the block, other than a SockbpfError, which says why a start failed."""
    try:
        yield
    except SockbpfError:
        raise
    except BaseException as error:  # noqa: BLE001  the one place
        end(name, error)


@contextmanager
def living(pulse: Pulse) -> Iterator[None]:
    """Count the calling thread among those that must live; an exception that leaves the block ends the process."""
    try:
        pulse.beat()
        with _pulses_lock:
            _pulses.add(pulse)
        yield
        with _pulses_lock:
            _pulses.discard(pulse)
    except BaseException as error:  # noqa: BLE001  the one place
        end(pulse.name, error)


def _threads() -> list[Pulse]:
    with _pulses_lock:
        return list(_pulses)


def late() -> list[str]:
    """Return the names of the threads without a sign of life in time, where a restart would help."""
    now_s = time.monotonic()
    return [pulse.name for pulse in _threads() if pulse.restart_helps and pulse.is_late(now_s)]


def end(name: str, error: BaseException | None) -> NoReturn:
    """End the process because the thread of this name cannot go on."""
    if _ending is None:
        raise error or RuntimeError(name)
    _ending.now(f"sockbpf ends, exit code 1: the thread {name} cannot go on: {described(error)}")


def end_by(seconds: float) -> None:
    """End the process with exit code 1 and a line if it still runs in so many seconds: a stop must not hang."""
    if _ending is not None:
        _ending.stop_by(
            time.monotonic() + seconds,
            f"sockbpf ends, exit code 1: it was asked to stop {seconds:g} s ago, and these threads hang",
        )


def concerns_one_alert(error: BaseException) -> bool:
    """Whether an exception in the handling of one alert can come from that alert; else the process cannot go on."""
    return isinstance(error, Exception) and not isinstance(error, (MemoryError, NoThreadError))


@contextmanager
def setting_aside(counters: Counters, alert: object) -> Iterator[None]:
    """Set an alert aside, counted and logged, if its handling in this block raises an exception that concerns it.

    A block that ends by `return` or `continue` can have code behind it for this case: it runs only then.
    """
    try:
        yield
    except BaseException as error:
        if not concerns_one_alert(error):
            raise
        set_aside(counters, alert, error)


@contextmanager
def passing(counters: Counters, counter: str, what: str) -> Iterator[None]:
    """Count and log an exception of this block, whose next try may work; one that is no Exception goes on."""
    try:
        yield
    except Exception as error:  # noqa: BLE001  the one place
        counters.add(counter)
        log.error("%s: %s", what, described(error))  # noqa: TRY400  a text of an exception may hold a secret


def set_aside(counters: Counters, alert: object, error: BaseException) -> None:
    """Count and log an alert that cannot be handled."""
    counters.add("set_aside")
    log.error("set aside: %s: %s", alert, described(error))


def described(error: BaseException | None) -> str:
    """Return an exception's class, the system's reason, and the place; its own text may hold a secret."""
    if isinstance(error, SockbpfError):
        return str(error)  # its text is made for the log
    name = type(error).__name__
    reason = error.strerror if isinstance(error, OSError) and error.strerror else ""
    if isinstance(error, RuntimeError) and str(error) == "can't start new thread":
        reason = "no more threads can be started: ulimit -u, TasksMax=, pids.max"
    with suppress(Exception):  # when memory is short the places may not be found
        at = " < ".join(_places(error))
        return f"{name}{f': {reason}' if reason else ''}{f', at {at}' if at else ''}"
    return name


def _places(error: BaseException | None) -> list[str]:
    frames = traceback.extract_tb(error.__traceback__) if error else []
    return [f"{PurePath(frame.filename).name}:{frame.lineno} {frame.name}" for frame in frames[::-1][:PLACES]]
