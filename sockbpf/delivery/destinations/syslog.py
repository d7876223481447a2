# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""A syslog daemon: the local socket, UDP (RFC 5426) or TCP (RFC 6587)."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING, Protocol

from sockbpf.delivery.destinations.syslog_message import FACILITIES, rfc3164, rfc5424, syslog3
from sockbpf.delivery.destinations.syslog_wire import Local, Stream, Udp
from sockbpf.delivery.transport import TransportError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

UDP_BYTES, STREAM_BYTES = 2048, 8192
"""The longest message that every receiver should take (RFC 5424, 6.1), and that rsyslog takes by its default."""


class _Wire(Protocol):
    def send(self, message: bytes) -> None:
        """Send, or raise OSError."""

    def close(self) -> None: ...


class Syslog:
    """Sends to `address`: ("unix", path, 0), ("udp", host, port) or ("tcp", host, port), IPv6 without brackets.

    A local socket gets the form of syslog(3), UDP and TCP that of RFC 5424 or RFC 3164. By TCP a message of RFC 5424
    has its length before it, one of RFC 3164 a newline after it, as its receivers read. syslog has no answers: when
    `send` returns, the message is in the local daemon's socket, or was sent by UDP, which reports no loss, or the
    host at the other end of TCP has acknowledged it. `timeout_s` bounds the connecting to each address of a name, and
    the sending; the name look-up has bounds of its own (resolv.conf).
    """

    def __init__(
        self,
        *,
        address: tuple[str, str, int],
        timeout_s: float,
        facility: str = "daemon",
        form: str = "rfc5424",
    ) -> None:
        """Raise KeyError or ValueError when there is no such transport, facility or form."""
        transport, host, port = address
        self._timeout_s = timeout_s
        self._facility = FACILITIES.index(facility)
        made, framed = {"rfc5424": (rfc5424, _counted), "rfc3164": (rfc3164, _ended)}[form]
        self._form = syslog3 if transport == "unix" else made
        self._limit = UDP_BYTES if transport == "udp" else STREAM_BYTES
        wires: dict[str, Callable[[], _Wire]] = {
            "unix": lambda: Local(host, timeout_s),
            "udp": lambda: Udp(host, port),
            "tcp": lambda: Stream(
                lambda: socket.create_connection((host, port), timeout_s), framed, timeout_s
            ),
        }
        self._wire = wires[transport]()
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


def _counted(message: bytes) -> bytes:
    return b"%d %b" % (len(message), message)


def _ended(message: bytes) -> bytes:
    return message + b"\n"
