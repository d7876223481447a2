# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`sockbpf top`: the queues look after look, what is over first, with its reason; `--once` prints one frame."""

from __future__ import annotations

import os
import signal
import sys
import time
from contextlib import closing
from importlib.util import find_spec
from io import TextIOWrapper
from typing import TYPE_CHECKING, NoReturn

from rich.console import Console, Group
from rich.live import Live

from sockbpf.commands.sockets import look_for, write
from sockbpf.errors import ConfigError, SockbpfError
from sockbpf.monitor.live_looks import LiveLooks
from sockbpf.screen.state import State
from sockbpf.view.top_frame import line

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sockbpf.settings.config import Config

NO_KEYS = "Ctrl-C ends it; keys need a terminal to read from, and Textual: docs/top.md"
ONE_FRAME_ROWS = 1000
"""So many lines one frame has at most, where the output is no terminal."""
ONE_FRAME_COLUMNS = 200
"""So wide is one frame, where the output is no terminal and COLUMNS says nothing: with reason and addresses."""


def top(config: Config, monitor: Path, words: Sequence[str], *, once: bool) -> int:
    """Show the queues until the user ends it, or once; return the exit code."""
    state = State(" ".join(words))
    if state.wish.faults:
        raise ConfigError([f"--filter: {fault}" for fault in state.wish.faults])
    with closing(LiveLooks(config, lambda: look_for(config), monitor)) as looks:
        try:
            if once or not sys.stdout.isatty():
                return _print_one(state, looks)
            return _live(state, looks)
        except OSError as fault:
            raise SockbpfError(f"the sockets cannot be looked at: {fault.strerror or fault}") from None


def _print_one(state: State, looks: LiveLooks) -> int:
    says_its_width = sys.stdout.isatty() or "COLUMNS" in os.environ
    out = Console(highlight=False, width=None if says_its_width else ONE_FRAME_COLUMNS)
    height = out.height if out.is_terminal else ONE_FRAME_ROWS
    state.take(looks.moment(state.wanted))
    with out.capture() as captured:
        out.print(Group(*state.parts(out.width, height)))
    write(line.rstrip() + "\n" for line in captured.get().splitlines())
    return 0


def _live(state: State, looks: LiveLooks) -> int:
    for name in ("COLUMNS", "LINES"):  # the terminal says how large it is, and can be resized
        os.environ.pop(name, None)
    if find_spec("textual") is None or not sys.stdin.isatty():
        _live_without_keys(state, looks)
    from sockbpf.screen.app import TopApp

    app = TopApp(state, looks.moment)
    if fault := app.run(mouse=False):  # so that the terminal can mark and copy
        raise fault
    return app.return_code or 0


def _live_without_keys(state: State, looks: LiveLooks) -> NoReturn:
    """Show the same frames until a signal ends it."""
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    out = Console(highlight=False)
    with Live(console=out, screen=True, auto_refresh=False) as live:
        while True:
            begun_s = time.monotonic()
            moment = looks.moment(state.wanted)
            state.take(moment)
            parts = state.parts(out.width, max(out.height - 1, 1))
            live.update(Group(*parts, line(NO_KEYS, "reverse", out.width)), refresh=True)
            time.sleep(max(begun_s + moment.every_s - time.monotonic(), 0))


def _end(*_: object) -> NoReturn:
    """End the process by an exception: so the terminal is put back."""
    raise SystemExit(0)
