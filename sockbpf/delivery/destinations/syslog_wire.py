# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How a message gets to a syslog daemon: datagrams or a stream, of the local host or of another."""

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
"""How long the address that a name stood for is good for UDP, which does not tell that nobody is there."""

LOOK_FIRST_MS, LOOK_MAX_MS = 1, 50
"""From one look at what is acknowledged to the next."""

ABORT = struct.pack("ii", 1, 0)


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
        # What ICMP has said by now; a host nearby answers at once that nobody listens.
        _raise_pending(self._socket)

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _connected_udp(host: str, port: int) -> socket.socket:
    """Return a socket to the first address of the name to which there is a way."""
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
    """Whole messages, each framed by `framed`, on a connection that is kept; `connect` makes one."""

    def __init__(
        self, connect: Callable[[], socket.socket], framed: Callable[[bytes], bytes], timeout_s: float
    ) -> None:
        self._connect = connect
        self._framed = framed
        self._timeout_s = timeout_s
        self._socket: socket.socket | None = None

    def send(self, message: bytes) -> None:
        """Return when the other side has it. Raise OSError: it may have it or not, the connection is to be closed."""
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
            # What is not acknowledged is sent again, on another connection.
            with suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, ABORT)
            raise

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def _is_over(connection: socket.socket, wait_ms: int) -> bool:
    """Whether the other side has closed, now or within `wait_ms`: what is sent then is lost without a word."""
    poll = select.poll()
    poll.register(connection, select.POLLRDHUP)
    return bool(poll.poll(wait_ms))


def _wait_acknowledged(connection: socket.socket, end_s: float) -> None:
    """Return when the other host has acknowledged all that was sent; with AF_UNIX, when the other side has read it.

    Raise OSError when it closes before, or when it is later than `end_s`, monotonic seconds. A Linux host
    acknowledges what comes one by one when it is read.
    """
    wait_ms, over = LOOK_FIRST_MS, False
    while struct.unpack("i", fcntl.ioctl(connection, termios.TIOCOUTQ, bytes(4)))[0]:  # SIOCOUTQ
        if over:
            raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
        if time.monotonic() >= end_s:
            raise TimeoutError
        over = _is_over(connection, wait_ms)
        wait_ms = min(LOOK_MAX_MS, 2 * wait_ms)
    _raise_pending(connection)  # it had it, and closed without having read it


def _raise_pending(connection: socket.socket) -> None:
    """Raise what the kernel has learned of the connection since it was last asked."""
    failed = connection.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if failed:
        raise OSError(failed, os.strerror(failed))


class Local:
    """The daemon's own socket: of datagrams nearly everywhere, of streams where it refuses those."""

    def __init__(self, path: str, timeout_s: float) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._datagrams: socket.socket | None = None
        self._stream = Stream(self._connected, _ended_by_nul, timeout_s)

    def send(self, message: bytes) -> None:
        """Send, or raise OSError."""
        if self._datagrams is None:
            self._datagrams = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            # Not Python's timeout: it would poll a socket without a peer, which can always be written to.
            whole, part = divmod(self._timeout_s, 1)
            limit = struct.pack("ll", int(whole), int(part * 10**6))
            self._datagrams.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
        try:
            # Not connected: a daemon that starts anew makes a new socket at the path.
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
