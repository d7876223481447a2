# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Who is at the other end of a Unix socket, as the kernel knows it."""

from __future__ import annotations

import os
import socket
import struct
from dataclasses import dataclass

UCRED = struct.Struct("3i")
"""struct ucred of unix(7): pid, user, group."""


ORDER = b"\0sockbpf-order-"
"""How the abstract name of a socket begins by which an order is sent to the monitor: no other client sends any."""


@dataclass(frozen=True, slots=True)
class Peer:
    """The process that connected; or, at the client's end, the one that began to listen."""

    pid: int
    uid: int

    @property
    def is_trusted(self) -> bool:
        """Whether it is root's, or this process's own user's."""
        return self.uid in {0, os.geteuid()}


def peer_of(connection: socket.socket) -> Peer:
    """Return the other end of a connected Unix socket."""
    pid, uid, _ = UCRED.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
    return Peer(pid, uid)
