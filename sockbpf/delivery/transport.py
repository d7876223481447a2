# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a destination is: it takes an alert and returns, or says why not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Mapping


class TransportError(Exception):
    """The alert was not delivered; the text is fit for a log: it names no password and no query of a URL.

    `permanent` says that the same request can never succeed; `retry_after_s` how many seconds the receiver
    asked us to stay away, None when it did not ask; `absent` that it is a place on this host where nobody listens.
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


class UnusableError(ValueError):
    """A destination cannot be made as things are; the text, fit for a log, says why."""


class Destination(Protocol):
    """Where alerts go. One instance serves one thread."""

    def send(self, fields: Mapping[str, str]) -> None:
        """Deliver an alert, given as its parameters (sockbpf/record/alert.py); to return is to have delivered it.

        Raise TransportError otherwise.
        """

    def close(self) -> None:
        """Let go of connections; `send` is not called again."""
