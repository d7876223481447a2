# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A Zabbix server or proxy: each alert is a value of a trapper item, sent as zabbix_sender does."""

from __future__ import annotations

import errno
import os
import socket
import time
from typing import TYPE_CHECKING

from sockbpf.delivery.destinations.deadline import CLOSE_AT_ONCE
from sockbpf.delivery.destinations.zabbix_message import HEAD, check_answer, length_of, request_of
from sockbpf.delivery.transport import TransportError, is_here
from sockbpf.record.alert import EVENTS

if TYPE_CHECKING:
    from collections.abc import Mapping


class Zabbix:
    """Sends to the server or proxy at `address`, on a connection for each alert: the protocol has it so.

    `host` is what the host is called in Zabbix; empty: as the alert calls it. `timeout_s` bounds the whole request,
    its answer included; the name look-up has bounds of its own (resolv.conf). Heartbeats are not sent.
    """

    def __init__(self, *, address: tuple[str, int], host: str, timeout_s: float) -> None:
        self._address = address
        self._host = host
        self._timeout_s = timeout_s
        at, port = address
        self._shown = f"zabbix {f'[{at}]' if ':' in at else at}:{port}"

    def send(self, fields: Mapping[str, str]) -> None:
        """Send the alert. Raise TransportError, a permanent one if no such item is there."""
        if fields["event"] not in EVENTS:
            return
        host = self._host or fields["host"]
        try:
            check_answer(self._answer(request_of(fields, host)), host)
        except TimeoutError:
            raise TransportError(f"{self._shown}: no answer within {self._timeout_s:g} s") from None
        except OSError as error:
            absent = isinstance(error, ConnectionRefusedError) and is_here(self._address[0])
            reason = error.strerror or type(error).__name__
            raise TransportError(f"{self._shown}: {reason}", absent=absent) from None
        except TransportError as error:
            raise TransportError(f"{self._shown}: {error}", permanent=error.permanent) from None

    def close(self) -> None:
        """No connection is kept."""

    def _answer(self, request: bytes) -> bytes:
        """Return what the server says to the request. Raise OSError, TransportError."""
        end_s = time.monotonic() + self._timeout_s
        with _connected(self._address, end_s) as connection:
            # A request that is given up ends with the connection: nothing of it arrives later, when it is sent again.
            connection.setsockopt(*CLOSE_AT_ONCE)
            connection.settimeout(_left_s(end_s))
            connection.sendall(request)
            return _read(connection, length_of(_read(connection, HEAD.size, end_s)), end_s)


def _connected(address: tuple[str, int], end_s: float) -> socket.socket:
    """Return a socket to the first address of the name that answers; raise OSError, at `end_s` TimeoutError."""
    failed = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for family, kind, protocol, _, where in socket.getaddrinfo(*address, type=socket.SOCK_STREAM):
        made = socket.socket(family, kind, protocol)
        try:
            made.settimeout(_left_s(end_s))
            made.connect(where)
        except OSError as error:
            made.close()
            failed = error
        else:
            return made
    raise failed


def _read(connection: socket.socket, length: int, end_s: float) -> bytes:
    """Read so many bytes; raise TransportError if the server closes before, TimeoutError at `end_s`."""
    read = bytearray()
    while len(read) < length:
        connection.settimeout(_left_s(end_s))
        some = connection.recv(length - len(read))
        if not some:
            raise TransportError("closed the connection without an answer")
        read += some
    return bytes(read)


def _left_s(end_s: float) -> float:
    """Return the seconds until `end_s`; raise TimeoutError when it has come."""
    left_s = end_s - time.monotonic()
    if left_s <= 0:
        raise TimeoutError
    return left_s
