# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The store's address, held by the monitor: nobody else can listen there while the monitor lives.

The store is started with this socket, again and again if need be; between two of them, who connects waits. Where
somebody else was first, nothing is sent there: alerts stay owed until the address is ours.
"""

from __future__ import annotations

import pwd
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from sockbpf.delivery.transport import TransportError
from sockbpf.kernel.look.owner import Owners
from sockbpf.settings.addresses import HostPort
from sockbpf.settings.store import REACHED_AT, leads_to
from sockbpf.store.listener import listen

if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator

    from sockbpf.settings.store import StoreSettings

LISTENS = "0A"
"""In /proc/net/tcp."""


class StorePort:
    """To be held before anything is sent; `place` may be asked by any thread."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._place: HostPort | None = None
        self._reason = "the store has not been started"
        self.socket: socket.socket | None = None
        """The one that listens, once it is held."""

    def is_meant(self, url: str) -> bool:
        """Whether requests to this url are for the store."""
        return leads_to(url, self._settings.listen)

    def hold(self) -> str:
        """Listen, if that is not done; return "" or why it cannot be done now."""
        at = self._settings.listen
        if at is None or self.socket:
            return ""
        try:
            self.socket = listen(at, self._settings.patience)
        except OSError as error:
            self._reason = f"{at.host}:{at.port}: {error.strerror or error}{_held_by(at.port)}"
            return self._reason
        host, port = self.socket.getsockname()[:2]
        self._place = HostPort(REACHED_AT.get(host, host), port)
        return ""

    def place(self) -> HostPort:
        """Return the address at which our own store is reached. Raise TransportError while there is none."""
        if self._place is None:
            raise TransportError(f"not sent, the store's address is not ours: {self._reason}")
        return self._place

    def close(self) -> None:
        if self.socket:
            self.socket.close()


def _held_by(port: int) -> str:
    """Say who listens at this port, as far as that can be seen."""
    found = []
    for uid, inode in _listeners(port):
        pid, comm = Owners().owner(inode)
        user = str(uid)
        with suppress(KeyError):
            user = pwd.getpwuid(uid).pw_name
        found.append(f"pid {pid} ({comm!r}) of user {user}" if pid else f"a process of user {user}")
    return f", held by {', '.join(found)}" if found else ""


def _listeners(port: int) -> Iterator[tuple[int, int]]:
    """Yield user id and inode of each socket that listens at this port."""
    for table in ("tcp", "tcp6"):
        with suppress(OSError):
            for line in Path("/proc/self/net", table).read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == LISTENS and int(words[1].rpartition(":")[2], 16) == port:
                    yield int(words[7]), int(words[9])
