# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a destination is: it delivers an alert, or a batch of alerts, and returns, or raises TransportError."""

from __future__ import annotations

from contextlib import suppress
from ipaddress import ip_address
from typing import TYPE_CHECKING, Protocol, runtime_checkable

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


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


@runtime_checkable
class BatchDestination(Protocol):
    """Where many alerts go by one request. One instance serves one thread."""

    most: int
    """How many alerts one request has at most."""
    wait_s: float
    """A batch that is not full waits so many seconds for more alerts, at most 0.1."""

    def send_all(self, alerts: Sequence[Mapping[str, str]]) -> Mapping[int, str]:
        """Deliver alerts, in this order; return of those that the receiver will never take the place and the reason.

        Raise TransportError if the request as a whole failed: then all are tried again. If that is `permanent` each
        half is tried by itself, so that one alert has no other refused; one that is alone is given up.
        """

    def close(self) -> None:
        """Close connections and files; `send_all` is not called again."""


class OneByOne:
    """A destination that takes one alert at a time, as one whose batches are of one alert."""

    most = 1
    wait_s = 0.0

    def __init__(self, destination: Destination) -> None:
        self._send = destination.send
        self.close = destination.close

    def send_all(self, alerts: Sequence[Mapping[str, str]]) -> Mapping[int, str]:
        """Deliver each. Raise what the destination raises."""
        for fields in alerts:
            self._send(fields)
        return {}


def batched(destination: Destination | BatchDestination) -> BatchDestination:
    """Return a destination of either kind as one that takes batches."""
    return destination if isinstance(destination, BatchDestination) else OneByOne(destination)
