"""The process that compiles, as the monitor sees it: started, asked, ended, and whatever may go wrong with it."""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from typing import TYPE_CHECKING

from sockbpf.errors import UnsupportedError
from sockbpf.kernel.handover import Fault, Loaded, NonsenseError, receive
from sockbpf.kernel.source import PACKAGE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sockbpf.kernel.order import Order

log = logging.getLogger(__name__)

COMMAND = (sys.executable, "-m", "sockbpf.kernel.compile")
"""Where the types come from and the descriptor of its socket are added."""

PATIENCE_S = 150.0
"""How long one answer may take: an old kernel's headers cost two minutes under emulation, systemd waits three."""

END_S = 5.0
"""How long it may take to end once it has closed its socket."""

LINES = 20
"""How much of what it said last is told when it fails."""


class Compiler:
    """A process of its own, so that the compiler's memory goes with it. To be closed, whatever happens."""

    def __init__(self, types: str, command: Sequence[str] = COMMAND, patience_s: float = PATIENCE_S) -> None:
        """Start it; it gets ready while its first order is still being thought about.

        `types` is where the kernel's types come from: auto, btf or headers. Raise UnsupportedError.
        """
        self._patience_s = patience_s
        self._said = os.memfd_create("said", os.MFD_CLOEXEC)
        self._door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._door.settimeout(patience_s)
        try:
            self._process = subprocess.Popen(
                [*command, types, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._said,
                stderr=self._said,
                # `python -m` looks for modules where it is started: nowhere but beside this package.
                cwd=PACKAGE.parent,
                start_new_session=True,  # an interrupt from the terminal is for the monitor alone
            )
        except OSError as fault:
            self._door.close()
            os.close(self._said)
            raise UnsupportedError(f"the compiler cannot be started: {fault}") from None
        finally:
            theirs.close()

    def close(self) -> None:
        """End it, whatever it does. What it handed over stays."""
        self._door.close()
        self._process.kill()
        self._process.wait()
        os.close(self._said)

    def ask(self, order: Order) -> None:
        """Have the programs compiled and loaded, and the maps made."""
        self._order = order
        with suppress(OSError):  # it has ended; what it said before is still to be had
            self._door.send(order.to_bytes())

    def answer(self) -> Loaded:
        """Return what was made of the last order.

        Raise UnsupportedError, with the reason and what the compiler said of it.
        """
        try:
            answer = receive(self._door)
        except NonsenseError as fault:
            raise UnsupportedError(self._failure(f"the compiler's answer makes no sense: {fault}")) from None
        except TimeoutError:
            raise UnsupportedError(
                self._failure(f"the compiler has not answered for {self._patience_s:g} s")
            ) from None
        except OSError as fault:  # it is gone, or there is no memory
            raise UnsupportedError(self._failure(f"{self._end()}: {fault.strerror}")) from None
        if answer is None:
            raise UnsupportedError(self._failure(self._end()))
        if isinstance(answer, Fault):
            raise UnsupportedError(self._failure(answer.reason))
        if {*answer.programs, *answer.refused} != set(self._order.programs):
            answer.close()
            raise UnsupportedError(self._failure("the compiler did not answer what it was asked"))
        if said := self._last_words():
            log.debug("the compiler said: %s", said)
        return answer

    def _end(self) -> str:
        """Return how the process ended; its socket is closed already."""
        try:
            code = self._process.wait(END_S)
        except subprocess.TimeoutExpired:
            return "the compiler has closed its door"
        if code == -signal.SIGKILL:
            return "the compiler was killed. Remedy: it needs some 150 MB of memory for a second"
        return (
            f"the compiler ended by {signal.Signals(-code).name}"
            if code < 0
            else f"the compiler ended with {code}"
        )

    def _failure(self, reason: str) -> str:
        return "\n".join(filter(None, [reason, self._last_words()]))

    def _last_words(self) -> str:
        size = os.fstat(self._said).st_size
        words = os.pread(self._said, 1 << 14, max(0, size - (1 << 14)))
        return "\n".join(words.decode(errors="replace").splitlines()[-LINES:])
