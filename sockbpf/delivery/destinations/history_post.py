# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Samples of services' queues to our own store, by `POST /history`: lines of JSON, one for each series."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from sockbpf.delivery.destinations.http_get import PERMANENT, redacted
from sockbpf.delivery.destinations.http_post import HttpPost, gzipped
from sockbpf.delivery.destinations.store import HEADERS, OF_CONTENT
from sockbpf.delivery.transport import TransportError
from sockbpf.record.history import Sample
from sockbpf.settings.secret import Secret
from sockbpf.settings.stores import base_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from sockbpf.record.history import Samples, Series
    from sockbpf.settings.destinations import BatchStoreSettings, HttpSettings

AT_ONCE = 500
"""Series of one request."""
ANSWER_BYTES = 256 * 1024
TIMEOUT_S = 15.0
"""Of a request at most, whatever that of an alert is."""


@dataclass(frozen=True, slots=True)
class Body:
    """What is sent by one request: lines, compressed by gzip, and how many samples each has."""

    data: bytes
    samples: tuple[int, ...]


def bodies_of(told: Mapping[Series, Samples]) -> Iterator[Body]:
    """Yield the bodies of requests that tell of these samples."""
    left = iter(told.items())
    while some := list(islice(left, AT_ONCE)):
        lines = "\n".join(_line(series, samples) for series, samples in some)
        data = gzipped(lines.encode())
        yield Body(data, tuple(len(samples) for _, samples in some))


def _line(series: Series, samples: Samples) -> str:
    times = sorted(samples)
    lists = zip(*(samples[at_s] for at_s in times), strict=True)
    told = series._asdict() | {"at": times} | dict(zip(Sample._fields, map(list, lists), strict=True))
    return json.dumps(told, separators=(",", ":"))


class HistoryPost:
    """Sends samples to the store of a destination, whose url may be secret: then errors show its host alone."""

    def __init__(
        self, settings: BatchStoreSettings | HttpSettings, place: Callable[[], tuple[str, int]] | None
    ) -> None:
        """Prepare the first request. `place` is as of HttpGet. Raise UnusableError if none can be made here."""
        url = f"{base_of(settings)}/history"
        self._shown = redacted(url, path=not isinstance(settings.url, Secret))
        self._place = place
        timeout_s = min(settings.timeout, TIMEOUT_S)
        self._post = HttpPost(url, timeout_s, shown=self._shown, options=settings, place=place)

    def send(self, body: Body) -> int:
        """Send samples; return how many of them the store does not keep. Raise TransportError."""
        if self._place:
            self._place()
        answer = self._post.exchange(body.data, HEADERS, ANSWER_BYTES)
        if not 200 <= answer.status < 300:  # noqa: PLR2004  the 2xx of HTTP
            raise TransportError(
                f"POST {self._shown}: answered {answer.status}",
                permanent=answer.status in PERMANENT | OF_CONTENT | {405, 415},
            )
        try:
            said = json.loads(answer.body or b"")
            refused = sum(body.samples[int(row["row"]) - 1] for row in said["refused"])
            return min(refused + max(int(said.get("too_old", 0)), 0), sum(body.samples))
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, RecursionError):
            raise TransportError(
                f"POST {self._shown}: answered not as a store does", permanent=True
            ) from None

    def close(self) -> None:
        self._post.close()
