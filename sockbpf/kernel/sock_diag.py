"""Reading all sockets of the current network namespace over NETLINK_SOCK_DIAG, as `ss` does.

The messages are read here rather than by a netlink library because a host can have a hundred thousand sockets:
one pass over the buffer takes 2 µs a socket, building an object for each attribute 40 times that.
The formats are include/uapi/linux/{netlink,sock_diag,inet_diag}.h of the kernel.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sockbpf.event import Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300

HEADER = struct.Struct("=IHHII")
REQUEST = struct.Struct("=BBBBI48x")  # struct inet_diag_req_v2, any address
MESSAGE = struct.Struct("=BBBB2s2s16s16s12xIIIII")  # struct inet_diag_msg
ERROR = struct.Struct("=i")
RECEIVE_BYTES = 1 << 18

SYN_RECV, TIME_WAIT, CLOSE, LISTEN = 3, 6, 7, 10
ANY_STATE = 0xFFFFFFFF
STATES = {
    Protocol.TCP: ANY_STATE & ~(1 << SYN_RECV | 1 << TIME_WAIT | 1 << CLOSE | 1 << LISTEN),
    Protocol.UDP: ANY_STATE,
}
"""States asked for: a listener's numbers are connections, minisocks and closed sockets have no queues."""


@dataclass(frozen=True, slots=True)
class Row:
    """One socket of a dump: queues in bytes, ports and addresses as the kernel has them, network order."""

    family: int
    local_port: bytes
    remote_port: bytes
    local_ip: bytes
    remote_ip: bytes
    recv: int
    send: int
    inode: int


def dump(family: int, protocol: Protocol) -> Iterator[Row]:
    """Yield every socket of this family and protocol in the namespace of the calling thread.

    Raise OSError when the kernel refuses (ENOENT: no inet_diag for this protocol, and its module is not to be had).
    """
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG
    ) as netlink:
        netlink.settimeout(10)
        body = REQUEST.pack(family, protocol, 0, 0, STATES[protocol])
        netlink.send(
            HEADER.pack(HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + body
        )
        while True:
            for kind, payload in _messages(netlink.recv(RECEIVE_BYTES)):
                if kind in (NLMSG_DONE, NLMSG_ERROR):  # a dump tells its failure in its last message
                    code = -ERROR.unpack_from(payload)[0]
                    if not code:
                        return
                    raise OSError(code, f"sock_diag: {os.strerror(code)} ({errno.errorcode.get(code, code)})")
                if kind == SOCK_DIAG_BY_FAMILY:
                    yield _row(payload)


def _messages(buffer: bytes) -> Iterator[tuple[int, memoryview]]:
    view = memoryview(buffer)
    position = 0
    while position + HEADER.size <= len(buffer):
        length, kind, _, _, _ = HEADER.unpack_from(buffer, position)
        yield kind, view[position + HEADER.size : position + length]
        position += max(length + 3 & ~3, HEADER.size)


def _row(payload: memoryview) -> Row:
    family, _, _, _, local_port, remote_port, local_ip, remote_ip, _, recv, send, _, inode = (
        MESSAGE.unpack_from(payload)
    )
    return Row(family, local_port, remote_port, local_ip, remote_ip, recv, send, inode)
