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
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sockbpf.event import NO_UID, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterator

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300

HEADER = struct.Struct("=IHHII")
REQUEST = struct.Struct(
    "=BBBBI48x"
)  # struct inet_diag_req_v2: family, protocol, extensions, states, any address
MESSAGE = struct.Struct("=BBBB2s2s16s16s12xIIIII")  # struct inet_diag_msg
ERROR = struct.Struct("=i")
ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length with this header, type
INET_DIAG_SKMEMINFO = 7
MEMORY = struct.Struct("=II")  # its first two numbers: sk_rmem_alloc, sk_rcvbuf
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
    """One socket of a dump: queues in bytes, ports and addresses as the kernel has them, network order.

    Of `recv`, up to `unsure` bytes may have been read already.
    """

    family: int
    local_port: bytes
    remote_port: bytes
    local_ip: bytes
    remote_ip: bytes
    recv: int
    send: int
    inode: int
    uid: int = NO_UID
    unsure: int = 0


def shows_what_was_read() -> bool:
    """Whether this kernel goes on counting UDP datagrams that were read: found by reading one of two.

    Since 4.10 their memory is given back when a quarter of the receive buffer has gathered (6b229cf77d68, "udp: add
    batching to udp_rmem_release()"); before 4.18 (6c206b20092a, "udp: fix rx queue len reported by diag and proc
    interface") sock_diag, and so `ss`, took it for unread.
    """
    with suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as own:  # loopback may be down
        own.settimeout(1)
        own.bind(("127.0.0.1", 0))
        inode = os.fstat(own.fileno()).st_ino
        for _ in range(2):
            own.sendto(b"x", own.getsockname())
        unread = _unread(inode)
        own.recv(1)
        return _unread(inode) == unread > 0
    return False


def _unread(inode: int) -> int:
    return sum(row.recv for row in dump(socket.AF_INET, Protocol.UDP) if row.inode == inode)


def dump(family: int, protocol: Protocol, *, unsure: bool = False) -> Iterator[Row]:
    """Yield every socket of this family and protocol in the namespace of the calling thread.

    With `unsure`, for UDP on a kernel that `shows_what_was_read`, each tells how much that may be.

    Raise OSError when the kernel refuses (ENOENT: no inet_diag for this protocol, and its module is not to be had).
    """
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG
    ) as netlink:
        netlink.settimeout(10)
        extensions = 1 << (INET_DIAG_SKMEMINFO - 1) if unsure else 0
        body = REQUEST.pack(family, protocol, extensions, 0, STATES[protocol])
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
                    yield _row(payload, unsure=unsure)


def _messages(buffer: bytes) -> Iterator[tuple[int, memoryview]]:
    view = memoryview(buffer)
    position = 0
    while position + HEADER.size <= len(buffer):
        length, kind, _, _, _ = HEADER.unpack_from(buffer, position)
        yield kind, view[position + HEADER.size : position + length]
        position += max(length + 3 & ~3, HEADER.size)


def _row(payload: memoryview, *, unsure: bool) -> Row:
    family, _, _, _, local_port, remote_port, local_ip, remote_ip, _, recv, send, uid, inode = (
        MESSAGE.unpack_from(payload)
    )
    kept = min(recv, _receive_buffer(payload) // 4) if unsure else 0
    uid = uid if inode else NO_UID  # of a socket that no file holds some kernels say root
    return Row(family, local_port, remote_port, local_ip, remote_ip, recv, send, inode, uid, kept)


def _receive_buffer(payload: memoryview) -> int:
    """Return the size of the socket's receive buffer; 0 if the message does not tell."""
    position = MESSAGE.size
    while position + ATTRIBUTE.size <= len(payload):
        length, kind = ATTRIBUTE.unpack_from(payload, position)
        if kind == INET_DIAG_SKMEMINFO:
            return int(MEMORY.unpack_from(payload, position + ATTRIBUTE.size)[1])
        position += max(length + 3 & ~3, ATTRIBUTE.size)
    return 0
