# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`sockbpf top` by Textual: keys in, frames out. Looks are taken in a thread, so that keys are answered meanwhile."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING, ClassVar

from rich.console import Group
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.widgets import Static
from textual.worker import get_current_worker

from sockbpf.screen.hangup import INTERRUPTED, end_if_terminal_is_gone

if TYPE_CHECKING:
    from collections.abc import Callable

    from textual.events import Key, Paste

    from sockbpf.record.moment import Moment, Wanted
    from sockbpf.screen.state import State

STEP_S = 0.1
"""The thread asks so often whether it is to end."""
DRAW_S = 0.03
"""So long after a key the screen is drawn, once for all keys that came meanwhile."""


class TopApp(App[Exception]):
    """Shows a state; it returns the fault if a look failed, and has the exit code as its `return_code`."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen, Static { background: ansi_default; color: ansi_default; }
    #frame { height: 1fr; }
    #keys { dock: bottom; height: 1; text-style: reverse; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+c", "interrupt", "interrupt", show=False, priority=True)
    ]

    def __init__(self, state: State, look: Callable[[Wanted], Moment]) -> None:
        super().__init__(ansi_color=True)  # the terminal's own colours
        self.state = state
        self._look = look
        self._is_to_draw = False

    def compose(self) -> ComposeResult:
        yield Static(id="frame", markup=False)
        yield Static(id="keys", markup=False)

    def on_mount(self) -> None:
        # The terminal is put back first, if it is still there. The loop may wait for a terminal that is not.
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._on_signal)
        self.run_worker(self._go_on, thread=True)
        self.draw()

    def on_resize(self) -> None:
        self.draw_soon()

    def on_key(self, event: Key) -> None:
        if not self.state.press(event.key, event.character or ""):
            self.exit()
        self.draw_soon()

    def on_paste(self, event: Paste) -> None:
        self.state.paste(event.text)
        self.draw_soon()

    def action_interrupt(self) -> None:
        self.exit(return_code=INTERRUPTED)

    def draw_soon(self) -> None:
        """Draw what is there in a moment."""
        if not self._is_to_draw:
            self._is_to_draw = True
            self.set_timer(DRAW_S, self.draw)

    def draw(self) -> None:
        """Draw the state as it is."""
        self._is_to_draw = False
        parts = self.state.parts(self.size.width, max(self.size.height - 1, 1))
        self.query_one("#frame", Static).update(Group(*parts))
        self.query_one("#keys", Static).update(Text(self.state.last_line(), no_wrap=True))

    def _go_on(self) -> None:
        """Take look after look, in a thread of its own."""
        worker = get_current_worker()
        while not worker.is_cancelled:
            end_if_terminal_is_gone()
            begun_s, wanted = time.monotonic(), self.state.wanted
            try:
                moment = self._look(wanted)
            except Exception as fault:  # noqa: BLE001  whoever runs the app raises it again
                self.call_from_thread(self.exit, fault)
                return
            if worker.is_cancelled:
                return
            self.call_from_thread(self._take, moment)
            while time.monotonic() < begun_s + moment.every_s and not self.state.wanted.is_more_than(wanted):
                if worker.is_cancelled:
                    return
                time.sleep(STEP_S)

    def _on_signal(self, *_: object) -> None:
        end_if_terminal_is_gone()
        self.call_later(self.exit)

    def _take(self, moment: Moment) -> None:
        self.state.take(moment)
        self.draw_soon()
