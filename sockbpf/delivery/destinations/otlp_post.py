# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""OTLP over HTTP: posts messages of Protobuf, and says what the receiver's answer means."""

from __future__ import annotations

import gzip
import logging
import time
from typing import TYPE_CHECKING

from sockbpf.delivery.destinations.http_get import redacted
from sockbpf.delivery.destinations.http_post import HttpPost
from sockbpf.delivery.destinations.said import Said
from sockbpf.delivery.transport import TransportError, UnusableError
from sockbpf.settings.secret import Secret

if TYPE_CHECKING:
    from types import ModuleType

    from sockbpf.delivery.destinations.http_post import Answer
    from sockbpf.settings.destinations import OtlpSettings

log = logging.getLogger(__name__)

RETRIED = frozenset({429, 502, 503, 504})
"""The only statuses after which the protocol has a request sent again."""

OF_CONTENT = frozenset({400, 413, 422, 500})
"""Of the others those that one alert of several may be the reason for: then the rest are to arrive."""

ANSWER_BYTES = 4 * 2**20
"""The longest answer that is read, as the protocol recommends."""

WARNED_S = 30.0

MISSING = "the Python package opentelemetry-proto is missing. Remedy: pip install 'sockbpf[otlp]'"


class RefusedError(TransportError):
    """The receiver answered, and did not take it; `whole` says that no part of the request would fare better."""

    def __init__(
        self, reason: str, *, permanent: bool, whole: bool, retry_after_s: float | None = None
    ) -> None:
        super().__init__(reason, permanent=permanent, retry_after_s=retry_after_s)
        self.whole = whole


def wire() -> ModuleType:
    """Return the module of the messages. Raise UnusableError where its packages are not installed."""
    try:
        from sockbpf.delivery.destinations import otlp_wire
    except ImportError:
        raise UnusableError(MISSING) from None
    return otlp_wire


def metrics_wire() -> ModuleType:
    """Return the module of the messages for metrics. Raise UnusableError as `wire`."""
    try:
        from sockbpf.delivery.destinations import otlp_metrics
    except ImportError:
        raise UnusableError(MISSING) from None
    return otlp_metrics


class OtlpPost:
    """Posts messages to a path below the url of the settings and says what came of it. For one thread.

    Errors show the url without user, password and query; of one that is a secret the host alone.
    """

    def __init__(self, settings: OtlpSettings, path: str) -> None:
        """Prepare the first request. Raise UnusableError if it cannot be made here."""
        self._wire = wire()
        url = str(settings.url).rstrip("/") + path
        self._shown = redacted(url, path=not isinstance(settings.url, Secret))
        self._post = HttpPost(url, settings.timeout, shown=self._shown, options=settings)
        self._said = Said(settings.url, settings)
        self._gzip = settings.compression == "gzip"
        # Answers are short: encoded ones would only have to be bounded twice.
        self._headers = {"Content-Type": self._wire.PROTOBUF, "Accept-Encoding": "identity"}
        if self._gzip:
            self._headers["Content-Encoding"] = "gzip"
        self._warned_s = float("-inf")

    def send(self, message: bytes) -> tuple[int, str]:
        """Post a message; return how many of its records the receiver refused for good, and what it says of them.

        Raise TransportError, a permanent one if the receiver will never take the message, or one of its records.
        """
        data = gzip.compress(message, compresslevel=6, mtime=0) if self._gzip else message
        answer = self._post.exchange(data, self._headers, ANSWER_BYTES)
        if not 200 <= answer.status < 300:  # noqa: PLR2004  the 2xx of HTTP
            raise self._failed(answer)
        return self._taken(answer)

    def close(self) -> None:
        self._post.close()

    def _failed(self, answer: Answer) -> TransportError:
        said = self._said.plain(self._wire.status_message(answer.kind, answer.body or b""))
        return RefusedError(
            f"POST {self._shown}: answered {answer.status}{f': {said}' if said else ''}",
            permanent=answer.status not in RETRIED,
            retry_after_s=answer.retry_after_s,
            whole=answer.status not in OF_CONTENT,
        )

    def _taken(self, answer: Answer) -> tuple[int, str]:
        """Return what an answer of success says of refused records."""
        if answer.body is None:
            raise RefusedError(
                f"POST {self._shown}: an answer of more than {ANSWER_BYTES} bytes was not read",
                permanent=True,
                whole=True,
            )
        if not answer.body:
            return 0, ""
        if answer.kind == "text/html":  # of a login or of an error page: no receiver of OTLP answers so
            raise TransportError(f"POST {self._shown}: answered {answer.status} with a page of HTML")
        try:
            rejected, said = self._wire.partial_success(answer.kind, answer.body)
        except ValueError:
            self._warn("its answers are no messages of OTLP")
            return 0, ""
        said = self._said.plain(said)
        if rejected <= 0 and said:
            self._warn(f"it took all and says: {said}")
        return max(rejected, 0), said

    def _warn(self, what: str) -> None:
        now_s = time.monotonic()
        if now_s - self._warned_s >= WARNED_S:
            self._warned_s = now_s
            log.warning("POST %s: %s", self._shown, what)
