# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A close look at one socket: an exact request over NETLINK_SOCK_DIAG with struct tcp_info, 6 µs."""

from __future__ import annotations

import os
import socket as sockets
import struct
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING

from sockbpf.kernel.look.netns import inside, namespaces
from sockbpf.kernel.look.sock_diag import (
    HEADER,
    INET_DIAG_INFO,
    INET_DIAG_SKMEMINFO,
    MESSAGE,
    NETLINK_SOCK_DIAG,
    NLM_F_REQUEST,
    SOCK_DIAG_BY_FAMILY,
    attribute,
    messages,
)
from sockbpf.process.clock import monotonic_ns
from sockbpf.record.closeup import Closeup, Memory, Tcp, Timer
from sockbpf.record.event import Protocol

if TYPE_CHECKING:
    from sockbpf.record.event import Socket

REQUEST = struct.Struct("=BBBBI2s2s16s16sIII")  # struct inet_diag_req_v2 with any state and no cookie
ANY, NO_COOKIE = 0xFFFFFFFF, 0xFFFFFFFF
EXTENSIONS = 1 << (INET_DIAG_INFO - 1) | 1 << (INET_DIAG_SKMEMINFO - 1)
RECEIVE_BYTES = 1 << 14
PATIENCE_S = 1.0
"""The kernel answers before the request returns; a lost answer must not stop the loop."""

INFO = (
    ("retransmits", 2, "B"), ("backoff", 4, "B"), ("rto_us", 8, "I"), ("mss", 16, "I"), ("unacked", 24, "I"),
    ("sacked", 28, "I"), ("lost", 32, "I"), ("retrans", 36, "I"), ("last_sent_ms", 44, "I"),
    ("last_recv_ms", 52, "I"), ("last_ack_ms", 56, "I"), ("rtt_us", 68, "I"), ("cwnd", 80, "I"),
    ("total_retrans", 100, "I"),
)  # fmt: skip
"""Where struct tcp_info has what every kernel knows: name, offset, code."""

LATER_INFO = (
    ("acked", 120, "Q"), ("received", 128, "Q"),  # 4.1
    ("notsent", 144, "I"),  # 4.6
    ("busy_us", 168, "Q"), ("rwnd_limited_us", 176, "Q"), ("sndbuf_limited_us", 184, "Q"),  # 4.10
    ("snd_wnd", 228, "I"),  # 5.4
)  # fmt: skip
MEMORY = struct.Struct("=4I")
QUEUED_AT, BACKLOG_AT, DROPS_AT = 20, 28, 32
NUMBER = struct.Struct("=I")
TIMERS = frozenset(Timer)
SEARCH_NS = 10**9
"""At least so long from one search for namespaces to the next, which reads all of /proc."""


class CloseLook:
    """Looks at one socket at a time, in any network namespace. For one thread."""

    def __init__(self) -> None:
        self._home = _number("/proc/self/ns/net")
        self._netlink: sockets.socket | None = None
        """In the own namespace. Of others none is kept: it would keep the namespace."""
        self._paths: dict[int, str] = {}
        """A way into each namespace, as of the last search."""
        self._searched_ns = 0

    def look(self, socket: Socket, pid: int = 0, *, extensions: int = EXTENSIONS) -> Closeup | None:
        """Return what the kernel says of the socket now; None if it is gone, or cannot be asked for.

        `pid` is a process in the socket's network namespace, if one is known: a way into it. Without one, as of a
        connection that nobody has accepted, a way is searched for, at most once a second. Without extensions there is
        neither `memory` nor `tcp`, and it takes a third of the time.
        """
        with suppress(OSError):
            if socket.netns == self._home:
                self._netlink = self._netlink or _opened()
                return _asked(self._netlink, socket, extensions)
            with inside(self._way_into(socket.netns, pid)), _opened() as netlink:
                return _asked(netlink, socket, extensions)
        self.close()  # an answer that came late would be taken for that of the next request
        return None

    def _way_into(self, netns: int, pid: int) -> str:
        """Return a path of the namespace: of the process, its name, or whoever is in it. Raise FileNotFoundError."""
        if pid and _number(path := f"/proc/{pid}/ns/net") == netns:
            return path
        if _number(self._paths.get(netns, "")) != netns and monotonic_ns() - self._searched_ns > SEARCH_NS:
            self._searched_ns = monotonic_ns()
            self._paths = namespaces()
        if _number(path := self._paths.get(netns, "")) == netns:
            return path
        raise FileNotFoundError(f"no way into the network namespace {netns}")

    def close(self) -> None:
        """Let go of the netlink socket."""
        if self._netlink:
            self._netlink.close()
            self._netlink = None


def _opened() -> sockets.socket:
    netlink = sockets.socket(sockets.AF_NETLINK, sockets.SOCK_RAW | sockets.SOCK_CLOEXEC, NETLINK_SOCK_DIAG)
    netlink.settimeout(PATIENCE_S)
    return netlink


def _number(path: str) -> int:
    with suppress(OSError):
        return os.stat(path).st_ino
    return 0


def _asked(netlink: sockets.socket, socket: Socket, extensions: int) -> Closeup | None:
    for body in _requests(socket, extensions):
        netlink.send(HEADER.pack(HEADER.size + len(body), SOCK_DIAG_BY_FAMILY, NLM_F_REQUEST, 1, 0) + body)
        ns = monotonic_ns()
        for kind, payload in messages(netlink.recv(RECEIVE_BYTES)):
            if kind == SOCK_DIAG_BY_FAMILY and (found := _closeup(payload, socket, ns)):
                return found
    return None


def _requests(socket: Socket, extensions: int) -> list[bytes]:
    """Return the requests for this socket; the first that finds it is right.

    UDP's has the two ends the other way round "for historical reasons" (net/ipv4/udp_diag.c, udp_dump_one).
    """
    family = sockets.AF_INET6 if ":" in socket.local_ip else sockets.AF_INET
    local, remote = (
        (port.to_bytes(2, "big"), sockets.inet_pton(family, ip).ljust(16, b"\0"))
        for port, ip in ((socket.local_port, socket.local_ip), (socket.remote_port, socket.remote_ip))
    )
    orders = [(local, remote)] if socket.protocol is Protocol.TCP else [(remote, local), (local, remote)]
    return [
        REQUEST.pack(
            family, socket.protocol, extensions, 0, ANY, one[0], other[0], one[1], other[1], 0, NO_COOKIE, NO_COOKIE
        )
        for one, other in orders
    ]  # fmt: skip


def _closeup(payload: memoryview, socket: Socket, ns: int) -> Closeup | None:
    """Return what the message says, if it is about this socket: several can share one end."""
    _, state, timer, _, local_port, _, _, _, expires_ms, recv, send, _, inode = MESSAGE.unpack_from(payload)
    if int.from_bytes(local_port, "big") != socket.local_port or (
        socket.inode and inode not in {socket.inode, 0}
    ):
        return None
    memory, info = (attribute(payload, kind) for kind in (INET_DIAG_SKMEMINFO, INET_DIAG_INFO))
    return Closeup(
        ns, state, inode, recv, send,
        Timer(timer) if timer in TIMERS else Timer.NONE,
        _memory(memory),
        _tcp(info) if socket.protocol is Protocol.TCP else None,
        expires_ms,
    )  # fmt: skip


def _memory(raw: memoryview) -> Memory | None:
    if len(raw) < QUEUED_AT + NUMBER.size:
        return None
    rmem, rcvbuf, wmem, sndbuf = MEMORY.unpack_from(raw)
    backlog, drops = (
        NUMBER.unpack_from(raw, at)[0] if len(raw) >= at + NUMBER.size else None
        for at in (BACKLOG_AT, DROPS_AT)
    )
    return Memory(wmem, sndbuf, NUMBER.unpack_from(raw, QUEUED_AT)[0], rmem, rcvbuf, backlog, drops)


def _tcp(raw: memoryview) -> Tcp | None:
    names, layout = _info_of(len(raw))
    return Tcp(**dict(zip(names, layout.unpack_from(raw), strict=True))) if len(names) >= len(INFO) else None


@lru_cache(maxsize=16)
def _info_of(length: int) -> tuple[tuple[str, ...], struct.Struct]:
    """Return the names of what a struct tcp_info of so many bytes has, and how it is read."""
    names, text, end = [], "=", 0
    for name, at, code in (*INFO, *LATER_INFO):
        if at + struct.calcsize(f"={code}") <= length:
            names.append(name)
            text += f"{at - end}x{code}"
            end = at + struct.calcsize(f"={code}")
    return tuple(names), struct.Struct(text)
