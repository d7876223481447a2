# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A syslog daemon: the local socket, UDP (RFC 5426) or TCP with octet counting (RFC 6587)."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Protocol

from sockbpf.delivery.destinations.syslog_message import FACILITIES, rfc5424, syslog3
from sockbpf.delivery.destinations.syslog_wire import Local, Stream, Udp
from sockbpf.delivery.transport import TransportError

if TYPE_CHECKING:
    from collections.abc import Mapping

UDP_BYTES, STREAM_BYTES = 2048, 8192
"""The longest message that every receiver should take (RFC 5424, 6.1), and that rsyslog takes by its default."""


class _Wire(Protocol):
    def send(self, message: bytes) -> None:
        """Send, or raise OSError."""

    def close(self) -> None: ...


class Syslog:
    """Sends to `address`: ("unix", path, 0), ("udp", host, port) or ("tcp", host, port), IPv6 without brackets.

    A local socket gets the form of syslog(3), UDP and TCP that of RFC 5424. syslog has no answers: when `send`
    returns, the message is in the local daemon's socket, or was sent by UDP, which reports no loss, or the host at
    the other end of TCP has acknowledged it. `timeout_s` bounds the connecting to each address of a name, and the
    sending; the name look-up has bounds of its own (resolv.conf).
    """

    def __init__(self, *, address: tuple[str, str, int], timeout_s: float, facility: str = "daemon") -> None:
        """Raise KeyError or ValueError when there is no such transport or facility."""
        transport, host, port = address
        self._timeout_s = timeout_s
        self._facility = FACILITIES.index(facility)
        self._form = syslog3 if transport == "unix" else rfc5424
        self._limit = UDP_BYTES if transport == "udp" else STREAM_BYTES
        self._wire: _Wire = {"unix": _unix, "udp": _udp, "tcp": _tcp}[transport](host, port, timeout_s)
        self._shown = (
            host if transport == "unix" else f"{transport}://{f'[{host}]' if ':' in host else host}:{port}"
        )

    def send(self, fields: Mapping[str, str]) -> None:
        """Send the alert. Raise TransportError, never a permanent one, for every error of the system."""
        message = self._form(fields, facility=self._facility, pid=os.getpid(), limit=self._limit)
        try:
            self._wire.send(message)
        except OSError as error:
            self._wire.close()
            late = f"not taken within {self._timeout_s:g} s"
            reason = late if isinstance(error, TimeoutError) else error.strerror or type(error).__name__
            raise TransportError(f"syslog {self._shown}: {reason}") from None

    def close(self) -> None:
        self._wire.close()


def _unix(path: str, _: int, timeout_s: float) -> _Wire:
    return Local(path, timeout_s)


def _udp(host: str, port: int, _: float) -> _Wire:
    return Udp(host, port)


def _tcp(host: str, port: int, timeout_s: float) -> _Wire:
    return Stream(lambda: socket.create_connection((host, port), timeout_s), _counted, timeout_s)


def _counted(message: bytes) -> bytes:
    return b"%d %b" % (len(message), message)
