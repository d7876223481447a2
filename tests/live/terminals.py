# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A real terminal: a screen of tmux, into which keys are typed."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.live.waiting import until

SHOWN_S = 20


class Terminal:
    """One screen of tmux, on a server of its own."""

    def __init__(self, server: Path) -> None:
        self._server = server

    def tmux(self, *words: str) -> str:
        command = ["tmux", "-S", str(self._server), *words]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def screen(self, *options: str) -> str:
        return self.tmux("capture-pane", "-p", *options)

    def press(self, *keys: str) -> None:
        """Press keys by their names, all at once."""
        self.tmux("send-keys", *keys)

    def type(self, text: str) -> None:
        """Type a text, all at once."""
        self.tmux("send-keys", "-l", text)

    def resize(self, width: int, height: int) -> None:
        self.tmux("resize-window", "-x", str(width), "-y", str(height))

    def shows(self, *texts: str, without: str = "") -> str:
        """Wait for a screen with all of these texts, return it."""

        def shown() -> str:
            screen = self.screen()
            fits = all(text in screen for text in texts) and not (without and without in screen)
            return screen if fits else ""

        screen: str = until(shown, lambda: f"{texts} without {without!r} in\n{self.screen()}", SHOWN_S)
        return screen

    def signal(self, number: int = signal.SIGTERM) -> None:
        """Send a signal to what the shell of the terminal runs."""
        (child,) = self.children()
        os.kill(child, number)

    def children(self) -> list[int]:
        """Return the processes of what the shell of the terminal runs."""
        shell = int(self.tmux("display-message", "-p", "#{pane_pid}"))
        return list(map(int, Path(f"/proc/{shell}/task/{shell}/children").read_text().split()))

    def is_as_before(self) -> bool:
        """Tell whether a program that has ended left the terminal as it was."""
        screen = self.shows("ENDED", "icanon")
        return "-icanon" not in screen and self.tmux("display-message", "-p", "#{alternate_on}") == "0\n"


@contextmanager
def terminal(server: Path, command: str, size: tuple[int, int]) -> Iterator[Terminal]:
    """Run a command of the shell in a terminal; its exit code is shown after `ENDED`."""
    made = Terminal(server)
    width, height = map(str, size)
    shell = f"{command}; echo ENDED $?; stty -a; cat"
    made.tmux("-f", "/dev/null", "new-session", "-d", "-x", width, "-y", height, shell)
    try:
        yield made
    finally:
        children = made.children()
        made.tmux("kill-server")  # as if the connection broke: what ran there has to end
        until(
            lambda: not any(map(_is_alive, children)),
            f"the end of {children} without their terminal",
            SHOWN_S,
        )


def _is_alive(process: int) -> bool:
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
