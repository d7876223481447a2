# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Our own store: many alerts by one `POST /alerts`, as lines of JSON; it answers for each that it refuses."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from sockbpf.delivery.destinations.http_get import PERMANENT, redacted
from sockbpf.delivery.destinations.http_post import HttpPost, gzipped
from sockbpf.delivery.destinations.said import Said
from sockbpf.delivery.transport import TransportError
from sockbpf.settings.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sockbpf.delivery.destinations.http_post import Answer
    from sockbpf.settings.destinations import BatchStoreSettings

OF_CONTENT = frozenset({400, 413, 422})
"""The statuses for which one alert of several may be the reason: then the rest are to arrive."""

ANSWER_BYTES = 512 * 1024
"""The longest answer that is read: a refusal of each of a thousand rows."""

MOST_REASONS = 10
"""So many reasons for refusals in one answer are told apart."""

HEADERS = {
    "Content-Type": "application/x-ndjson",
    "Content-Encoding": "gzip",
    "Accept-Encoding": "identity",
}


class Store:
    """Posts alerts to a store, whose url may be secret: then errors show its host alone."""

    most = 1000
    wait_s = 0.1

    def __init__(self, settings: BatchStoreSettings) -> None:
        """Prepare the first request. Raise UnusableError if it cannot be made here."""
        url = str(settings.url).rstrip("/") + "/alerts"
        self._shown = redacted(url, path=not isinstance(settings.url, Secret))
        self._post = HttpPost(url, settings.timeout, shown=self._shown, options=settings)
        self._said = Said(settings.url, settings)

    def send_all(self, alerts: Sequence[Mapping[str, str]]) -> Mapping[int, str]:
        """Post the alerts; return of those that the store refused the place and the reason. Raise TransportError."""
        lines = "\n".join(json.dumps(fields, separators=(",", ":")) for fields in alerts)
        answer = self._post.exchange(gzipped(lines.encode()), HEADERS, ANSWER_BYTES)
        if 200 <= answer.status < 300:  # noqa: PLR2004  the 2xx of HTTP
            return self._refused(answer, len(alerts))
        reason = f"POST {self._shown}: answered {answer.status}"
        if answer.status in PERMANENT - OF_CONTENT:
            return dict.fromkeys(range(len(alerts)), reason)
        raise TransportError(
            reason, permanent=answer.status in OF_CONTENT, retry_after_s=answer.retry_after_s
        )

    def close(self) -> None:
        self._post.close()

    def _refused(self, answer: Answer, number: int) -> dict[int, str]:
        """Return which alerts an answer names as refused; raise TransportError if it does not account for all."""
        try:
            said = json.loads(answer.body or b"")
            rows: dict[int, str] = {_place(row, number): row["why"] for row in said["refused"]}
            if min(said["new"], said["known"]) < 0 or said["new"] + said["known"] + len(rows) != number:
                raise ValueError("another number of alerts")  # noqa: TRY301  one error for what makes no sense
            reasons: dict[str, str] = {}
            for why in rows.values():
                if why not in reasons:
                    shown = self._said.plain(why) if len(reasons) < MOST_REASONS else "further reasons"
                    reasons[why] = f"the store refused it: {shown}"
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
            raise TransportError(
                f"POST {self._shown}: answered {answer.status}, and not as a store does"
            ) from None
        return {place: reasons[why] for place, why in rows.items()}


def _place(row: Any, number: int) -> int:
    """Return the place of an alert among those that were sent; raise ValueError if there was none."""
    place = row["row"] - 1
    if type(place) is not int or not 0 <= place < number:
        raise ValueError("no row")
    return place
