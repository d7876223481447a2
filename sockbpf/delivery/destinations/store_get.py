# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Questions to a store of ours, by GET: bounded in time and size, and nothing that it answers is trusted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from sockbpf.delivery.destinations.http_get import redacted
from sockbpf.delivery.destinations.http_post import HttpPost
from sockbpf.delivery.transport import TransportError
from sockbpf.settings.secret import Secret
from sockbpf.settings.stores import base_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.settings.destinations import BatchStoreSettings, HttpSettings

ANSWER_BYTES = 8 * 2**20
TIMEOUT_S = 15.0
HEADERS = {"Accept": "application/json", "Accept-Encoding": "identity"}


class StoreGet:
    """Asks the store that a destination leads to, with the token and the TLS options of that destination."""

    def __init__(self, settings: BatchStoreSettings | HttpSettings) -> None:
        """Prepare the first request. Raise UnusableError if none can be made here."""
        self._base = base_of(settings)
        self.shown = redacted(self._base, path=not isinstance(settings.url, Secret))
        """Where it asks, without what is secret."""
        self._http = HttpPost(self._base, TIMEOUT_S, shown=self.shown, options=settings)

    def ask(self, path: str, asked: Mapping[str, str | float]) -> Any:
        """Return the JSON that the store answers for this path. Raise TransportError."""
        answer = self._http.read(f"{self._base}{path}?{urlencode(asked)}", HEADERS, ANSWER_BYTES)
        if answer.status != 200:  # noqa: PLR2004  the OK of HTTP
            raise TransportError(f"GET {self.shown}{path}: answered {answer.status}", permanent=True)
        try:
            return json.loads(answer.body or b"")
        except (ValueError, RecursionError):
            raise self.fault(path) from None

    def fault(self, path: str) -> TransportError:
        """Return the error for an answer that makes no sense."""
        return TransportError(f"GET {self.shown}{path}: answered not as a store does", permanent=True)

    def close(self) -> None:
        self._http.close()
