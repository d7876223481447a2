# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Real sockets of every kind, and what `ss` says of them."""

from __future__ import annotations

import ctypes
import fcntl
import os
import re
import socket
import struct
import subprocess
import termios
from contextlib import ExitStack, suppress

SO_ATTACH_FILTER, SO_DETACH_FILTER, SO_MEMINFO = 26, 27, 55  # asm-generic/socket.h

FAMILIES = ("ipv4", "ipv6", "mapped")


def listener(stack: ExitStack, family: str) -> socket.socket:
    """Return a TCP listener on loopback; `mapped` is an IPv6 one that takes IPv4 too."""
    if family == "ipv4":
        return stack.enter_context(socket.create_server(("127.0.0.1", 0)))
    made = stack.enter_context(socket.socket(socket.AF_INET6))
    made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, family == "ipv6")
    made.bind(("::1" if family == "ipv6" else "::ffff:127.0.0.1", 0))
    made.listen()
    return made


def tcp_pair(stack: ExitStack, family: str = "ipv4", rcvbuf: int = 0) -> tuple[socket.socket, socket.socket]:
    """Return a connected client and the server's accepted socket."""
    server = listener(stack, family)
    if rcvbuf:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
    kind = socket.AF_INET if family == "ipv4" else socket.AF_INET6
    client = stack.enter_context(socket.socket(kind))
    client.connect(server.getsockname()[:2])
    accepted = stack.enter_context(server.accept()[0])
    return client, accepted


def udp_socket(stack: ExitStack, family: str = "ipv4") -> socket.socket:
    """Return a UDP socket bound to loopback, not connected."""
    kind = socket.AF_INET if family == "ipv4" else socket.AF_INET6
    made = stack.enter_context(socket.socket(kind, socket.SOCK_DGRAM))
    if family != "ipv4":
        made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, family == "ipv6")
    made.bind(({"ipv4": "127.0.0.1", "ipv6": "::1", "mapped": "::ffff:127.0.0.1"}[family], 0))
    return made


def inode(sock: socket.socket) -> int:
    return os.fstat(sock.fileno()).st_ino


def port(sock: socket.socket) -> int:
    return int(sock.getsockname()[1])


def hand_over(stack: ExitStack, sock: socket.socket) -> None:
    """Have another process hold the socket, alone, and never read: of one with many threads no cause is told."""
    process = stack.enter_context(subprocess.Popen(["sleep", "1000"], pass_fds=[sock.fileno()]))
    stack.callback(process.kill)
    sock.close()


Queues = tuple[int, int]
"""Recv-Q and Send-Q."""


def ss_all(netns: str = "") -> dict[int, Queues]:
    """Return what `ss` shows of all TCP and UDP sockets, by inode; in a named network namespace if given."""
    inside = ["ip", "netns", "exec", netns] if netns else []
    shown = subprocess.run(
        [*inside, "ss", "-H", "-n", "-a", "-e", "-t", "-u"],
        capture_output=True,
        check=True,
        text=True,
        errors="replace",  # a cgroup may have any name
    )
    found: dict[int, Queues] = {}
    for line in shown.stdout.splitlines():
        number = re.search(r"\bino:(\d+)", line)
        if number:
            columns = line.split()
            found[int(number[1])] = (int(columns[2]), int(columns[3]))
    return found


def ss(sock: socket.socket) -> Queues:
    """Return what `ss` shows of this socket."""
    return ss_all()[inode(sock)]


def charged(sock: socket.socket) -> int:
    """Return what the receive buffer is charged for, bytes; of UDP that may include some that was read."""
    return struct.unpack_from("=I", sock.getsockopt(socket.SOL_SOCKET, SO_MEMINFO, 64))[0]  # type: ignore[no-any-return]


def unread(sock: socket.socket) -> int:
    """Return SIOCINQ: for TCP the bytes in the receive queue, for UDP the payload of the next datagram."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.FIONREAD, bytes(4)))[0]  # type: ignore[no-any-return]


def unsent(sock: socket.socket) -> int:
    """Return SIOCOUTQ: for TCP the bytes not acknowledged, for UDP those not yet given to the device (truesize)."""
    return struct.unpack("i", fcntl.ioctl(sock, termios.TIOCOUTQ, bytes(4)))[0]  # type: ignore[no-any-return]


def drain(sock: socket.socket, size: int) -> None:
    """Read exactly this many bytes of a stream."""
    while size:
        got = len(sock.recv(size))
        assert got, "the peer closed early"
        size -= got


def fill(sock: socket.socket) -> int:
    """Write to a stream whose peer does not read until it would block; return how many bytes that were."""
    sock.setblocking(False)
    sent = 0
    with suppress(BlockingIOError):
        while True:
            sent += sock.send(bytes(1 << 16))
    return sent


def deafen(sock: socket.socket) -> None:
    """Drop whatever arrives at this socket, acknowledgements too, until `undeafen`: its queues stand still."""
    instruction = struct.pack("=HBBI", 0x06, 0, 0, 0)  # struct sock_filter: return 0, take no byte of it
    program = ctypes.create_string_buffer(instruction, len(instruction))
    sock.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("@HP", 1, ctypes.addressof(program)))


def undeafen(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, SO_DETACH_FILTER, 0)
