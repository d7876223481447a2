# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a destination is: it delivers an alert and returns, or raises TransportError."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class TransportError(Exception):
    """The alert was not delivered; the text is fit for a log: it names no password and no query of a URL.

    `permanent` says that the same request can never succeed; `retry_after_s` how many seconds the receiver
    asked us to stay away, None when it did not ask; `absent` that nobody listens there, an address of this host.
    """

    def __init__(
        self,
        reason: str,
        *,
        permanent: bool = False,
        retry_after_s: float | None = None,
        absent: bool = False,
    ) -> None:
        super().__init__(reason)
        self.absent = absent
        self.permanent = permanent
        self.retry_after_s = retry_after_s


def is_here(host: str) -> bool:
    """Tell whether a host, an address or a name, is this one, by loopback."""
    with suppress(ValueError):
        return ip_address(host).is_loopback
    return host == "localhost"


class UnusableError(ValueError):
    """A destination cannot be made as things are; the text, fit for a log, says why."""


class Destination(Protocol):
    """Where alerts go. One instance serves one thread."""

    def send(self, fields: Mapping[str, str]) -> None:
        """Deliver an alert, given as its fields (sockbpf/record/fields.py); to return is to have delivered it.

        Raise TransportError otherwise.
        """

    def close(self) -> None:
        """Close connections and files; `send` is not called again."""
