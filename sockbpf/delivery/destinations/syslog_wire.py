# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How a message gets to a syslog daemon, on this host or another: by datagrams or by a stream."""

from __future__ import annotations

import errno
import fcntl
import os
import select
import socket
import struct
import termios
import time
from contextlib import suppress
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

LOOK_UP_S = 60.0
"""How long UDP uses the address of a name: then the name is looked up again, since UDP reports no dead host."""

LOOK_FIRST_MS, LOOK_MAX_MS = 1, 50
"""The first, and the longest, pause from one look at what is acknowledged to the next."""

ABORT = struct.pack("ii", 1, 0)
"""Of SO_LINGER: `close` drops what was not acknowledged, and resets the connection."""


class Udp:
    """One datagram for each message. A name is looked up again from time to time."""

    def __init__(self, host: str, port: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._host, self._port = host, port
        self._clock = clock
        self._socket: socket.socket | None = None
        self._until_s = 0.0

    def send(self, message: bytes) -> None:
        """Send, or raise OSError."""
        if self._socket is None or self._clock() >= self._until_s:
            self.close()
            self._socket = _connected_udp(self._host, self._port)
            self._until_s = self._clock() + LOOK_UP_S
        self._socket.send(message)
        # An ICMP error that is here by now: a host nearby reports at once that no process listens.
        _raise_pending(self._socket)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _connected_udp(host: str, port: int) -> socket.socket:
    """Return a socket to the first address of the name that has a route; raise OSError."""
    failed = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for family, kind, protocol, _, where in socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM):
        try:
            made = socket.socket(family, kind, protocol)
        except OSError as error:
            failed = error
            continue
        try:
            made.connect(where)
        except OSError as error:
            made.close()
            failed = error
        else:
            return made
    raise failed


class Stream:
    """Sends messages, framed by `framed`, on one connection, which `connect` opens and which is kept."""

    def __init__(
        self, connect: Callable[[], socket.socket], framed: Callable[[bytes], bytes], timeout_s: float
    ) -> None:
        self._connect = connect
        self._framed = framed
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def send(self, message: bytes) -> None:
        """Return when the other side has the message. Raise OSError if that is not sure: the caller closes then."""
        if self._socket is not None and _is_over(self._socket, 0):
            self.close()
        if self._socket is None:
            self._socket = self._connect()
        try:
            self._socket.settimeout(self._timeout_s)
            end_s = time.monotonic() + self._timeout_s
            self._socket.sendall(self._framed(message))
            _wait_acknowledged(self._socket, end_s)
        except OSError:
            # The message is sent again, on another connection: of this one nothing more may arrive.
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            raise

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _is_over(connection: socket.socket, wait_ms: int) -> bool:
    """Whether the other side has closed, now or within `wait_ms`: what is sent then is lost without an error."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(wait_ms))


def _wait_acknowledged(connection: socket.socket, end_s: float) -> None:
    """Return when the other host has acknowledged all that was sent; with AF_UNIX, when the other side has read it.

    Raise OSError when the other side closes before, or at `end_s`, monotonic seconds. A Linux host acknowledges a
    single small segment when it is read.
    """
    wait_ms, over = LOOK_FIRST_MS, False
    while struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0]:  # SIOCOUTQ
        if over:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        if time.monotonic() >= end_s:
            raise TimeoutError
        over = _is_over(connection, wait_ms)
        wait_ms = min(LOOK_MAX_MS, 2 * wait_ms)
    _raise_pending(connection)  # an error if the other side closed without having read the message


def _raise_pending(connection: socket.socket) -> None:
    """Raise the error that the kernel has noted for the socket since the last call, if there is one."""
    failed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if failed:
        raise OSError(failed, os.strerror(failed))


class Local:
    """The local daemon's socket: it takes datagrams on nearly all systems, and a stream on the others."""

    def __init__(self, path: str, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._datagrams: socket.socket | None = None
        self._stream = Stream(self._connected, _ended_by_nul, timeout_s)

    def send(self, message: bytes) -> None:
        """Send, or raise OSError."""
        if self._datagrams is None:
            self._datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            # Not Python's timeout, which polls: without a peer a socket can always be written to, says poll.
            whole, part = divmod(self._timeout_s, 1)
            limit = struct.pack("ll", int(whole), int(part * 10**6))
            self._datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        try:
            # The socket is not connected: a daemon that restarts makes a new one at the path.
            self._datagrams.sendto(message, self._path)
        except BlockingIOError:
            raise TimeoutError from None
        except OSError as error:
            if error.errno != errno.EPROTOTYPE:
                raise
            self._stream.send(message)

    def close(self) -> None:
        self._stream.close()
        if self._datagrams is not None:
            self._datagrams.close()
            self._datagrams = None

    def _connected(self) -> socket.socket:
        made = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            made.settimeout(self._timeout_s)
            made.connect(self._path)
        except OSError:
            made.close()
            raise
        return made


def _ended_by_nul(message: bytes) -> bytes:
    """Frame as syslog(3) does on a stream."""
    return message + b"\0"
