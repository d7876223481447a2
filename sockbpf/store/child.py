# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The store as the monitor's child: its order comes on stdin, a pipe that stays open as long as the monitor runs.

The first line has the settings, so that none of their secrets is in a command line or an environment, and the number
of a descriptor: the listening socket, which the monitor has opened. When the pipe closes, however the monitor ended,
the store ends too: so the monitor needs no right to signal the store.
"""

from __future__ import annotations

import json
import os
import signal
import threading
from dataclasses import dataclass

from sockbpf.errors import SockbpfError
from sockbpf.settings.store import StoreSettings

PIPE = 0
MOST_BYTES = 1 << 20
PATIENCE_S = 6.0
"""How long the store may take to end; a request under way has less."""


class OrphanError(SockbpfError):
    """The monitor has ended before the store began."""

    exit_code = 0


@dataclass(frozen=True, slots=True)
class StoreOrder:
    """What the monitor sends: the level of the log, the settings, the descriptor of the listening socket.

    `history_s`: for how many seconds the history is kept.
    """

    log: str
    settings: StoreSettings
    listener: int
    history_s: float

    def to_bytes(self) -> bytes:
        settings = self.settings.model_dump(mode="json", exclude={"listen"})
        assert self.settings.listen  # noqa: S101  a socket listens there
        host, port = self.settings.listen
        settings["listen"] = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        order = {"log": self.log, "listener": self.listener, "store": settings, "history_s": self.history_s}
        return json.dumps(order).encode() + b"\n"


def take_order() -> StoreOrder:
    """Read the order from stdin; raise OrphanError if the monitor has ended."""
    with open(PIPE, "rb", buffering=0, closefd=False) as pipe:
        line = pipe.readline(MOST_BYTES)
    if not line.endswith(b"\n"):
        raise OrphanError("the monitor has ended")
    order = json.loads(line)
    settings = StoreSettings.model_validate(order["store"])
    return StoreOrder(order["log"], settings, order["listener"], order["history_s"])


def end_with_the_monitor() -> None:
    """Start a thread that ends the process when the pipe closes: by SIGTERM, and after PATIENCE_S at once."""
    threading.Thread(target=_end, name="monitor", daemon=True).start()


def _end() -> None:
    while os.read(PIPE, 1 << 16):
        pass
    os.kill(os.getpid(), signal.SIGTERM)
    threading.Event().wait(PATIENCE_S)
    os._exit(1)
