# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The process that compiles, as the monitor uses it: start, order, answer, end, and every fault in between."""

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
"""The command of the process; a last argument says where the types come from."""

PATIENCE_S = 150.0
"""How long one answer may take: an old kernel's headers cost two minutes under emulation, systemd waits three."""

LINES = 20
"""So many of the compiler's last lines are logged when it fails."""


class Compiler:
    """A process for one order: the compiler's memory is freed as it ends. Call `close`, whatever happens."""

    def __init__(self, types: str, command: Sequence[str] = COMMAND, patience_s: float = PATIENCE_S) -> None:
        """Start the process; it imports BCC while the monitor still works out the order.

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
        """Kill the process, whatever it does."""
        with suppress(OSError), self._process:  # closes what is still open, and waits
            self._process.kill()

    def ask(self, order: Order) -> None:
        """Send the order to the process."""
        self._order = order
        stdin, self._process.stdin = self._process.stdin, None
        if stdin:
            with suppress(OSError), stdin:  # it has ended; `answer` reads what it wrote before
                stdin.write(order.to_bytes())

    def answer(self) -> Bytecode:
        """Wait for the bytecode and return it.

        Raise UnsupportedError, with the reason and the compiler's last lines.
        """
        try:
            answer, output = self._process.communicate(timeout=self._patience_s)
        except subprocess.TimeoutExpired as silence:
            raise UnsupportedError(
                _with_last_output(
                    f"the compiler has not answered for {self._patience_s:g} s", silence.stderr or b""
                )
            ) from None
        if self._process.returncode:
            raise UnsupportedError(_with_last_output(_end(self._process.returncode), output))
        try:
            bytecode = _bytecode(answer)
        except NonsenseError as fault:
            reason = f"the compiler's answer makes no sense: {fault}"
            raise UnsupportedError(_with_last_output(reason, output)) from None
        except UnsupportedError as fault:
            raise UnsupportedError(_with_last_output(str(fault), output)) from None
        if set(bytecode.programs) != set(self._order.programs):
            raise UnsupportedError(
                _with_last_output("the compiler made other programs than it was asked for", output)
            )
        if output:
            log.debug("%s", _with_last_output("the compiler said:", output))
        return bytecode


def _bytecode(answer: bytes) -> Bytecode:
    """Return the bytecode of an answer; raise NonsenseError, or UnsupportedError if the answer names a fault."""
    with suppress(ValueError):
        content = json.loads(answer)
        if isinstance(content, dict) and isinstance(content.get("fault"), str):
            raise UnsupportedError(content["fault"])
    return bytecode_from(answer)


def _end(code: int) -> str:
    if code == -signal.SIGKILL:
        return "the compiler was killed. Remedy: it needs some 150 MB of memory for a second"
    if code < 0:
        return f"the compiler ended by {signal.Signals(-code).name}"
    return f"the compiler ended with {code}"


def _with_last_output(reason: str, output: bytes) -> str:
    return "\n".join([reason, *output.decode(errors="replace").splitlines()[-LINES:]])
