# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
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
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from sockbpf.kernel.look.row import Detail, Row
from sockbpf.record.event import NO_UID, Direction, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

NETLINK_SOCK_DIAG = 4
SOCK_DIAG_BY_FAMILY = 20
NLMSG_ERROR, NLMSG_DONE = 2, 3
NLM_F_REQUEST, NLM_F_DUMP = 0x1, 0x300

HEADER = struct.Struct("=IHHII")
REQUEST = struct.Struct(
    "=BBBBI48x"
)  # struct inet_diag_req_v2: family, protocol, extensions, states, any address
LARGE_PROTOCOL = struct.Struct("=HHI")  # an attribute with it: a number that does not fit in there
INET_DIAG_REQ_PROTOCOL = 3
PLACEHOLDER, MPTCP = 255, 262
MPTCP_COUNTS = Path("/proc/thread-self/net/netstat")
MESSAGE = struct.Struct("=BBBB2s2s16s16s12xIIIII")  # struct inet_diag_msg
STATE_AT = 1
INET_DIAG_REQ_BYTECODE = 1
S_GE, S_LE = 2, 3
OF_PORT = struct.Struct(
    "=HH" + 2 * "BBHBBH"
)  # 2 of struct inet_diag_bc_op twice: how, where to go if so, and if not
COOKIE = struct.Struct("=44xQ")
ERROR = struct.Struct("=i")
ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length with this header, type
INET_DIAG_INFO, INET_DIAG_SKMEMINFO, INET_DIAG_CGROUP_ID = 2, 7, 21
CGROUP = struct.Struct("=Q")
MEMORY = struct.Struct("=4I4xI8x")  # sk_rmem_alloc, sk_rcvbuf, sk_wmem_alloc, sk_sndbuf, sk_wmem_queued
DROPS = struct.Struct("=32xI")  # 4.6: sk_drops
PROGRESS = struct.Struct("=120xQQ")  # struct tcp_info: tcpi_bytes_acked, tcpi_bytes_received (4.1)
RECEIVE_BYTES = 1 << 18

ESTABLISHED, SYN_RECV, TIME_WAIT, CLOSE, CLOSE_WAIT, LISTEN = 1, 3, 6, 7, 8, 10
ANY_STATE = 0xFFFFFFFF
STATES = {
    Protocol.TCP: ANY_STATE & ~(1 << SYN_RECV | 1 << TIME_WAIT | 1 << CLOSE | 1 << LISTEN),
    Protocol.UDP: ANY_STATE,
}
"""States asked for: a listener's numbers are connections, minisocks and closed sockets have no queues."""


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


def _all(_send: int, _recv: int, _inode: int) -> bool:
    return True


def dump(
    family: int,
    protocol: Protocol,
    *,
    unsure: bool = False,
    progress: bool = False,
    take: Callable[[int, int, int], bool] = _all,
) -> Iterator[Row]:
    """Yield the sockets of this family and protocol in the namespace of the calling thread.

    With `unsure`, for UDP on a kernel that `shows_what_was_read`, each says how much that may be. With `progress`,
    for TCP, each says how many bytes have left its queues. `take` is asked for each socket by its queues, SEND and
    RECV, and its inode, before more of it is read.

    Raise OSError when the kernel refuses (ENOENT: no inet_diag for this protocol, and its module is not to be had).
    """
    extensions = 1 << (INET_DIAG_SKMEMINFO - 1)
    extensions |= 1 << (INET_DIAG_INFO - 1) if progress else 0
    for payload in _asked(REQUEST.pack(family, protocol, extensions, 0, STATES[protocol])):
        row = _row(payload)
        if take(row.send, row.recv, row.inode):
            detail = _detail(payload, protocol)
            kept = min(row.recv, detail.rcvbuf // 4) if detail and unsure else 0
            left = _left(payload, row.recv) if progress else None
            yield replace(row, unsure=kept, detail=detail, left=left)


def dump_listeners(family: int) -> Iterator[tuple[Row, int, int | None]]:
    """Yield every TCP listener of this family in the namespace of the calling thread, with its cookie and drops.

    Of the row, `recv` is sk_ack_backlog, the connections that wait to be accepted, and `send` is sk_max_ack_backlog.
    The cookie is a number that no other socket of the namespace ever has. The drops are segments, connections
    among them (9caad864151e, "tcp: increment sk_drops for listeners"); None before Linux 4.7.
    The kernel goes through its listeners alone. Raise OSError as `dump` does.
    """
    extensions = 1 << (INET_DIAG_SKMEMINFO - 1)
    for payload in _asked(REQUEST.pack(family, Protocol.TCP, extensions, 0, 1 << LISTEN)):
        memory = attribute(payload, INET_DIAG_SKMEMINFO)
        drops = DROPS.unpack_from(memory)[0] if len(memory) >= DROPS.size else None
        yield _row(payload), COOKIE.unpack_from(payload)[0], drops


def dump_without_bytes(family: int, *, everything: bool = True) -> Iterator[Row]:
    """Yield the TCP sockets of this family that have no queue of bytes: listeners, TIME-WAIT and SYN-RECV.

    Without `everything` listeners alone: the kernel goes through no others then. Of a listener's row, `recv` and
    `send` are as `dump_listeners` has them. Raise OSError as `dump` does.
    """
    extensions = 1 << (INET_DIAG_SKMEMINFO - 1)
    states = 1 << LISTEN | (1 << TIME_WAIT | 1 << SYN_RECV if everything else 0)
    for payload in _asked(REQUEST.pack(family, Protocol.TCP, extensions, 0, states)):
        row = _row(payload)
        detail = _detail(payload, Protocol.TCP)
        if detail is None:  # no socket yet, or none any more: it has no memory
            detail = Detail(0, 0, 0, payload[STATE_AT], 0, 0, 0, 0, 0, 0)
        else:
            cgroup = attribute(payload, INET_DIAG_CGROUP_ID)  # 5.7
            number = CGROUP.unpack_from(cgroup)[0] if len(cgroup) >= CGROUP.size else 0
            detail = replace(detail, cgroup=number)
        yield replace(row, detail=detail)


def dump_unaccepted(family: int, port: int) -> Iterator[int]:
    """Yield the cookie of each TCP connection to this local port that waits to be accepted: no file holds it.

    The kernel compares the port as it goes through its sockets. Raise OSError as `dump` does.
    """
    body = REQUEST.pack(family, Protocol.TCP, 0, 0, 1 << ESTABLISHED | 1 << CLOSE_WAIT)
    body += OF_PORT.pack(
        OF_PORT.size, INET_DIAG_REQ_BYTECODE, S_GE, 8, 20, 0, 0, port, S_LE, 8, 12, 0, 0, port
    )
    for payload in _asked(body):
        if not _row(payload).inode:
            yield COOKIE.unpack_from(payload)[0]


def dump_mptcp(family: int) -> list[Row]:
    """Return every MPTCP connection of this family in the namespace of the calling thread.

    Its paths are TCP sockets, of the same inode. Raise OSError as `dump` does.
    """
    body = REQUEST.pack(family, PLACEHOLDER, 0, 0, ANY_STATE)
    body += LARGE_PROTOCOL.pack(LARGE_PROTOCOL.size, INET_DIAG_REQ_PROTOCOL, MPTCP)
    return [_row(payload) for payload in _asked(body)]


def had_mptcp() -> bool:
    """Tell whether the namespace of the calling thread ever had an MPTCP connection, a tenth of a dump's cost."""
    lines = MPTCP_COUNTS.read_text().splitlines()
    return any(line.startswith("MPTcpExt:") and set(line.split()[1:]) - {"0"} for line in lines[1::2])


def _asked(body: bytes) -> Iterator[memoryview]:
    """Yield what the kernel answers to the request for a dump. Raise OSError."""
    with socket.socket(
        socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, NETLINK_SOCK_DIAG
    ) as netlink:
        netlink.settimeout(10)
        netlink.send(
            HEADER.pack(HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST | NLM_F_DUMP, 1, 0) + body
        )
        while True:
            for kind, payload in messages(netlink.recv(RECEIVE_BYTES)):
                if kind in (NLMSG_DONE, NLMSG_ERROR):  # the last message of a dump says whether it failed
                    code = -ERROR.unpack_from(payload)[0]
                    if not code:
                        return
                    raise OSError(code, f"sock_diag: {os.strerror(code)} ({errno.errorcode.get(code, code)})")
                if kind == SOCK_DIAG_BY_FAMILY:
                    yield payload


def messages(buffer: bytes) -> Iterator[tuple[int, memoryview]]:
    """Yield the type and the content of each netlink message in the buffer."""
    view = memoryview(buffer)
    position = 0
    while position + HEADER.size <= len(buffer):
        length, kind, _, _, _ = HEADER.unpack_from(buffer, position)
        yield kind, view[position + HEADER.size : position + length]
        position += max(length + 3 & ~3, HEADER.size)


def _row(payload: memoryview) -> Row:
    family, _, _, _, local_port, remote_port, local_ip, remote_ip, _, recv, send, uid, inode = (
        MESSAGE.unpack_from(payload)
    )
    uid = uid if inode else NO_UID  # of a socket that no file holds some kernels say root
    return Row(family, local_port, remote_port, local_ip, remote_ip, recv, send, inode, uid)


def _detail(payload: memoryview, protocol: Protocol) -> Detail | None:
    """Return what the message says of the socket's memory; None if it does not."""
    memory = attribute(payload, INET_DIAG_SKMEMINFO)
    if len(memory) < MEMORY.size:
        return None
    rmem, rcvbuf, wmem, sndbuf, queued = MEMORY.unpack_from(memory)
    (drops,) = DROPS.unpack_from(memory) if len(memory) >= DROPS.size else (0,)
    charged = queued if protocol is Protocol.TCP else wmem
    return Detail(0, 0, 0, payload[STATE_AT], rcvbuf, rmem, sndbuf, charged, drops, 0)


def _left(payload: memoryview, recv: int) -> Mapping[Direction, int] | None:
    """Return how many bytes have left each queue; None if the message does not say.

    The count of bytes received grows with rcv_nxt, so that less what is unread it grows with copied_seq. Bytes that
    come between the kernel's two reads make it greater at this look, never less.
    """
    info = attribute(payload, INET_DIAG_INFO)
    if len(info) < PROGRESS.size:  # before 4.1
        return None
    acked, received = PROGRESS.unpack_from(info)
    return {Direction.SEND: acked, Direction.RECV: received - recv}


def attribute(payload: memoryview, wanted: int) -> memoryview:
    """Return the content of an attribute; empty if there is none."""
    position = MESSAGE.size
    while position + ATTRIBUTE.size <= len(payload):
        length, kind = ATTRIBUTE.unpack_from(payload, position)
        if kind == wanted:
            return payload[position + ATTRIBUTE.size : position + length]
        position += max(length + 3 & ~3, ATTRIBUTE.size)
    return payload[:0]
