# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The socket that the store listens on; the monitor opens it for its child."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sockbpf.settings.addresses import HostPort

BACKLOG = 2048


def listen(at: HostPort, patience_s: float) -> socket.socket:
    """Open a socket that listens there; raise OSError.

    It listens at once: another process could still take an address that is only bound. `::` is every address, IPv4
    too. `patience_s` is how long a client may take to receive the end of an answer.
    """
    found = socket.getaddrinfo(at.host, at.port, type=socket.SOCK_STREAM)
    family, _, _, _, address = min(found)  # IPv4, where a name has both
    every = family == socket.AF_INET6 and address[0] == "::"
    listener = socket.create_server(address, family=family, backlog=BACKLOG, dualstack_ipv6=every)
    # Accepted sockets inherit the option: the kernel closes one whose client does not receive the end of an answer.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(patience_s * 1000))
    return listener
