# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Which user is at the other end of a connection from this host; the kernel answers that, by sock_diag."""

from __future__ import annotations

import socket
import struct

NETLINK_SOCK_DIAG, SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST = 4, 20, 1  # linux/netlink.h, linux/sock_diag.h
HEADER = struct.Struct("=IHHII")
REQUEST = struct.Struct("=BBBxI2s2s16s16sI8s")  # struct inet_diag_req_v2
MESSAGE = struct.Struct("=BBBB2s2s16s16s12xIIIII")  # struct inet_diag_msg
ANY_STATE, NO_COOKIE = 0xFFFFFFFF, b"\xff" * 8
WAIT_S = 0.2


class Peers:
    """Asks the kernel about one socket at a time."""

    def __init__(self) -> None:
        try:
            self._kernel: socket.socket | None = socket.socket(
                socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG
            )
            self._kernel.settimeout(WAIT_S)
        except OSError:
            self._kernel = None  # a sandbox without netlink: no user can be known
        self._asked = 0

    def close(self) -> None:
        if self._kernel is not None:
            self._kernel.close()

    def user_of(self, theirs: tuple[str, int], ours: tuple[str, int]) -> int | None:
        """Return the id of the user that made the socket at the other end, None if that is not certain."""
        if self._kernel is None:
            return None
        try:
            family, source, target = _packed(theirs[0], ours[0])
            request = REQUEST.pack(
                family, socket.IPPROTO_TCP, 0, ANY_STATE, theirs[1].to_bytes(2, "big"), ours[1].to_bytes(2, "big"),
                source, target, 0, NO_COOKIE,
            )  # fmt: skip
            self._asked = (self._asked + 1) % 2**32
            head = HEADER.pack(HEADER.size + len(request), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, self._asked, 0)
            self._kernel.send(head + request)
            while True:
                answer = self._kernel.recv(8192)
                _, kind, _, number, _ = HEADER.unpack_from(answer)
                if number == self._asked:
                    break
            if kind != SOCK_DIAG_BY_FAMILY:
                return None  # an error: the socket is gone
            user, inode = MESSAGE.unpack_from(answer, HEADER.size)[-2:]
        except (OSError, ValueError, struct.error):
            return None
        # A socket that its process has closed has no inode, and on older kernels root as its user.
        return int(user) if inode else None


def _packed(theirs: str, ours: str) -> tuple[int, bytes, bytes]:
    theirs, ours = theirs.removeprefix("::ffff:"), ours.removeprefix("::ffff:")
    family = socket.AF_INET6 if ":" in theirs else socket.AF_INET
    source, target = (socket.inet_pton(family, address.partition("%")[0]) for address in (theirs, ours))
    return family, source.ljust(16, b"\0"), target.ljust(16, b"\0")
