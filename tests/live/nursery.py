# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A process that starts monitors with a fault in them: `python -m tests.live.nursery`, asked by JSON on stdin.

It has imported all that a monitor needs, and forks: a monitor is there at once, a real process with its own threads.
The fault is an exception in the place of a call, raised by a profile function (sys.setprofile): of all calls that a
module of sockbpf makes out of itself, whichever thread makes them. Nothing of this is in sockbpf.

A place is `thread file:line callee`. {"argv", "stderr", "environment", "record"} has a monitor write all places that
it came by to the file `record` when it ends; with {"place", "error", "fired"} it raises the error where it first
comes by the place, having made the file `fired`. The answer is its pid, then its exit code once it has ended.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import sockbpf.cli
import sockbpf.commands.check
import sockbpf.commands.run
import sockbpf.monitor.dispatch
import sockbpf.monitor.metrics
import sockbpf.monitor.store_child

ROOT = str(Path(sockbpf.cli.__file__).parent) + "/"

ERRORS: dict[str, Callable[[], BaseException]] = {
    "OSError": lambda: OSError(24, "Too many open files"),
    "RuntimeError": lambda: RuntimeError("can't start new thread"),
    "ValueError": lambda: ValueError("a setting's fault says this"),
    "MemoryError": MemoryError,
    "UnicodeDecodeError": lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    "KeyError": lambda: KeyError("s3cret"),
    "SystemExit": SystemExit,
}

RELEASES = frozenset({"__exit__", "release", "_release_save", "_acquire_restore"})
"""Of a lock: no call that can fail, and what would wait for it could not be told from what hangs."""

OURS = frozenset(
    {"main", "outbox", "sweep", "metrics", "log", "lookout", "store", "http-deadline", "journal"}
)


class Hook:
    """The profile function of all threads."""

    def __init__(self, order: dict[str, Any]) -> None:
        self._place = order.get("place")
        self._line = int(self._place.split()[1].rpartition(":")[2]) if self._place else 0
        self._error = ERRORS[order["error"]] if self._place else None
        self._fired = order.get("fired")
        self._in_loop = False
        self._main = threading.main_thread()
        self.places: set[str] = set()

    def __call__(self, frame: FrameType, event: str, argument: Any) -> None:
        if event == "c_call":
            caller: FrameType | None = frame
        elif event == "call":
            caller = frame.f_back
        else:
            if event == "return" and self._is_loop(frame):
                self._in_loop = False
            return
        if event == "call" and self._is_loop(frame):
            self._in_loop = True
        if caller is None or not caller.f_code.co_filename.startswith(ROOT):
            return
        if self._place and caller.f_lineno != self._line:
            return
        if event == "call" and frame.f_code.co_filename == caller.f_code.co_filename:
            return
        name = frame.f_code.co_name if event == "call" else argument.__name__
        if name in RELEASES and (event == "c_call" or frame.f_code.co_filename == threading.__file__):
            return
        self._note(caller, name)

    def _is_loop(self, frame: FrameType) -> bool:
        return frame.f_code.co_name == "_run" and frame.f_code.co_filename.endswith("/monitor/loop.py")

    def _note(self, caller: FrameType, name: str) -> None:
        thread = threading.current_thread()
        who = "main" if thread is self._main else thread.name.rpartition("-")[0] or thread.name
        who = thread.name if thread.name in OURS else who
        if who == "main" and not self._in_loop:
            return
        place = f"{who} {caller.f_code.co_filename[len(ROOT) :]}:{caller.f_lineno} {name}"
        if self._place is None:
            self.places.add(place)
        elif place == self._place and self._error:
            self._place = ""
            self._line = 0
            os.close(os.open(str(self._fired), os.O_CREAT | os.O_WRONLY))
            raise self._error()


def be_a_monitor(order: dict[str, Any]) -> None:
    log = os.open(order["stderr"], os.O_CREAT | os.O_WRONLY | os.O_APPEND)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.environ.update(order["environment"])
    hook = Hook(order)
    threading.setprofile(hook)
    sys.setprofile(hook)
    code = 1
    try:
        code = sockbpf.cli.main(order["argv"])
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        sys.setprofile(None)
        if order.get("record"):
            Path(order["record"]).write_text(json.dumps(sorted(hook.places)))
        os._exit(code)


def main() -> None:
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if not pid:
            be_a_monitor(order)
        print(pid, flush=True)
        _, status = os.waitpid(pid, 0)
        print(os.waitstatus_to_exitcode(status), time.time(), flush=True)


if __name__ == "__main__":
    main()
