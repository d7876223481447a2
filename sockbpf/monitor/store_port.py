# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The store's address, held by the monitor: no other process can listen there while the monitor lives.

The store is started with this listening socket, again whenever it ends; between two stores a connection waits. If
another process listens there first, nothing is sent there: alerts stay owed until the monitor has the address.
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
"""The state of a listening socket in /proc/net/tcp."""


class StorePort:
    """Call `hold` before anything is sent; any thread may call `place`."""

    def __init__(self, settings: StoreSettings) -> None:
        self._settings = settings
        self._place: HostPort | None = None
        self._reason = "the store has not been started"
        self.socket: socket.socket | None = None
        """The listening socket, once the address is held."""

    def is_meant(self, url: str) -> bool:
        """Whether requests to this url are for the store."""
        return leads_to(url, self._settings.listen)

    def hold(self) -> str:
        """Listen, unless that is done already; return "" or the reason why it cannot be done now."""
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
    """Return which processes listen at this port, as far as that can be seen, as the end of a sentence."""
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
