# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""Splunk, by its HTTP event collector: each alert is an event of JSON, many in a request."""

from __future__ import annotations

import json
import time
import uuid
from typing import TYPE_CHECKING

from sockbpf.delivery.destinations.http_get import PERMANENT, redacted
from sockbpf.delivery.destinations.http_post import HttpPost, gzipped
from sockbpf.delivery.destinations.json_lines import line_of, literal
from sockbpf.delivery.destinations.refusals import without_refused
from sockbpf.delivery.destinations.said import Said
from sockbpf.delivery.destinations.splunk_reply import EVENT_CODES, SUCCESS, Reply, is_indexed
from sockbpf.delivery.transport import TransportError
from sockbpf.settings.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sockbpf.settings.destinations import SplunkSettings

CHANNEL = str(uuid.uuid4())
"""Names this run of the monitor to a collector that acknowledges; one that does not takes no notice of it."""

OF_CONTENT = frozenset({400, 413, 422})
"""The statuses for which one alert of several may be the reason: then the rest are to arrive."""

BUSY = frozenset({429, 503})

ANSWER_BYTES = 64 * 1024

FIRST_S, LONGEST_S = 0.1, 10.0
"""The pause before the first question whether the events are indexed, and the longest; each is twice the last."""


class Splunk:
    """Posts alerts as events; where the token has acknowledgement on, it waits until the indexers have them.

    Errors show the url without user, password and query; of one that is a secret the host alone.
    """

    most = 512
    wait_s = 0.1

    def __init__(self, settings: SplunkSettings) -> None:
        """Prepare the first request. Raise UnusableError if it cannot be made here."""
        url = str(settings.url).rstrip("/") + "/services/collector"
        events, self._acks = f"{url}/event", f"{url}/ack"
        self._shown = redacted(events, path=not isinstance(settings.url, Secret))
        self._post = HttpPost(events, settings.timeout, shown=self._shown, options=settings, scheme="Splunk")
        self._said = Said(settings.url, settings)
        self._ack_s = settings.ack
        self._gzip = settings.compression == "gzip"
        self._headers = {
            "Content-Type": "application/json",
            "Accept-Encoding": "identity",
            "X-Splunk-Request-Channel": CHANNEL,
        }
        where = {"index": settings.index, "source": settings.source, "sourcetype": settings.sourcetype}
        self._where = "".join(f'"{key}":{json.dumps(text)},' for key, text in where.items() if text)

    def send_all(self, alerts: Sequence[Mapping[str, str]]) -> Mapping[int, str]:
        """Post the alerts; return of those that were refused the place and the reason. Raise TransportError."""
        return without_refused(alerts, self._send)

    def close(self) -> None:
        self._post.close()

    def _send(self, alerts: Sequence[Mapping[str, str]]) -> Mapping[int, str]:
        data = "\n".join(map(self._event, alerts)).encode("ascii")
        headers = self._headers | ({"Content-Encoding": "gzip"} if self._gzip else {})
        answer = self._post.exchange(gzipped(data) if self._gzip else data, headers, ANSWER_BYTES)
        reply = Reply.of(answer.body)
        if 200 <= answer.status < 300:  # noqa: PLR2004  the 2xx of HTTP
            if reply.code != SUCCESS:
                raise TransportError(
                    f"POST {self._shown}: answered {answer.status}, and not as a collector does"
                )
            if reply.ack is not None:
                self._wait_indexed(reply.ack)
            return {}
        said = self._said.plain(reply.text)
        reason = f"POST {self._shown}: answered {answer.status}{f': {said}' if said else ''}"
        if reply.code in EVENT_CODES and reply.invalid is not None and 0 <= reply.invalid < len(alerts):
            return {reply.invalid: reason}
        of_content = answer.status in OF_CONTENT and (reply.code is None or reply.code in EVENT_CODES)
        if answer.status in PERMANENT and not of_content:
            return dict.fromkeys(range(len(alerts)), reason)
        raise TransportError(reason, permanent=of_content, retry_after_s=answer.retry_after_s)

    def _event(self, fields: Mapping[str, str]) -> str:
        time_, host = (literal(name, fields[name]) for name in ("timestamp", "host"))
        return f'{{"time":{time_},"host":{host},{self._where}"event":{line_of(fields)}}}'

    def _wait_indexed(self, ack: int) -> None:
        """Ask until the indexers have what this number stands for. Raise TransportError: all is to be sent again."""
        end_s = time.monotonic() + self._ack_s
        question = json.dumps({"acks": [ack]}).encode("ascii")
        wait_s = FIRST_S
        while (left_s := end_s - time.monotonic()) > 0:
            time.sleep(min(wait_s, left_s))
            answer = self._post.exchange(question, self._headers, ANSWER_BYTES, self._acks)
            if answer.status not in {200, *BUSY}:
                raise TransportError(
                    f"POST {self._shown}: asked whether it is indexed, answered {answer.status}"
                )
            if is_indexed(answer.body, ack):
                return
            wait_s = min(LONGEST_S, 2 * wait_s)
        raise TransportError(f"POST {self._shown}: not indexed within {self._ack_s:g} s")
