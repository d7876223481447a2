# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The process that compiles, as the monitor sees it: started, asked, ended, and whatever may go wrong with it."""

from __future__ import annotations

import json
import logging
import signal
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from sockbpf.errors import UnsupportedError
from sockbpf.kernel.build.bytecode import Bytecode, NonsenseError, bytecode_from
from sockbpf.process.isolated import command as isolated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sockbpf.kernel.build.order import Order

log = logging.getLogger(__name__)

COMMAND = isolated("sockbpf.kernel.build.clang")
"""Where the types come from is added."""

PATIENCE_S = 150.0
"""How long one answer may take: an old kernel's headers cost two minutes under emulation, systemd waits three."""

LINES = 20
"""How much of what it said last is told when it fails."""


class Compiler:
    """A process for one order, so that the compiler's memory goes with it. To be closed, whatever happens."""

    def __init__(self, types: str, command: Sequence[str] = COMMAND, patience_s: float = PATIENCE_S) -> None:
        """Start it; it gets ready while its order is still being thought about.

        `types` is where the kernel's types come from: auto, btf or headers. Raise UnsupportedError.
        """
        self._patience_s = patience_s
        try:
            self._process = subprocess.Popen(
                [*command, types],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,  # an interrupt from the terminal is for the monitor alone
            )
        except OSError as fault:
            raise UnsupportedError(f"the compiler cannot be started: {fault}") from None

    def close(self) -> None:
        """End it, whatever it does."""
        with suppress(OSError), self._process:  # closes what is still open, and waits
            self._process.kill()

    def ask(self, order: Order) -> None:
        """Have the programs compiled."""
        self._order = order
        stdin, self._process.stdin = self._process.stdin, None
        if stdin:
            with suppress(OSError), stdin:  # it has ended; what it said before is still to be had
                stdin.write(order.to_bytes())

    def answer(self) -> Bytecode:
        """Return what was made of the order.

        Raise UnsupportedError, with the reason and what the compiler said of it.
        """
        try:
            answer, words = self._process.communicate(timeout=self._patience_s)
        except subprocess.TimeoutExpired as silence:
            raise UnsupportedError(
                _with_last_words(
                    f"the compiler has not answered for {self._patience_s:g} s", silence.stderr or b""
                )
            ) from None
        if self._process.returncode:
            raise UnsupportedError(_with_last_words(_end(self._process.returncode), words))
        try:
            bytecode = _bytecode(answer)
        except NonsenseError as fault:
            reason = f"the compiler's answer makes no sense: {fault}"
            raise UnsupportedError(_with_last_words(reason, words)) from None
        except UnsupportedError as fault:
            raise UnsupportedError(_with_last_words(str(fault), words)) from None
        if set(bytecode.programs) != set(self._order.programs):
            raise UnsupportedError(_with_last_words("the compiler did not answer what it was asked", words))
        if words:
            log.debug("%s", _with_last_words("the compiler said:", words))
        return bytecode


def _bytecode(answer: bytes) -> Bytecode:
    """Return what was answered; raise NonsenseError, or UnsupportedError for a fault that it tells."""
    with suppress(ValueError):
        said = json.loads(answer)
        if isinstance(said, dict) and isinstance(said.get("fault"), str):
            raise UnsupportedError(said["fault"])
    return bytecode_from(answer)


def _end(code: int) -> str:
    if code == -signal.SIGKILL:
        return "the compiler was killed. Remedy: it needs some 150 MB of memory for a second"
    if code < 0:
        return f"the compiler ended by {signal.Signals(-code).name}"
    return f"the compiler ended with {code}"


def _with_last_words(reason: str, words: bytes) -> str:
    return "\n".join([reason, *words.decode(errors="replace").splitlines()[-LINES:]])
