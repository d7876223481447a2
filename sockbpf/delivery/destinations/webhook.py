# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""An HTTP POST of JSON, in the form that the settings give it: for chats, pagers and tools that have no type here."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from sockbpf.delivery.destinations.http_get import redacted
from sockbpf.delivery.destinations.http_post import HttpPost
from sockbpf.delivery.destinations.open_incidents import open_at
from sockbpf.delivery.destinations.values import cut, values_of
from sockbpf.record.alert import CLEARED, EVENTS
from sockbpf.record.incident import service_of
from sockbpf.record.template import filled
from sockbpf.record.text import sentence, without_markup
from sockbpf.settings.secret import Secret

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sockbpf.delivery.destinations.values import Value
    from sockbpf.settings.destinations import WebhookSettings


def values(fields: Mapping[str, str], of_incident: Mapping[str, Value]) -> dict[str, Value]:
    """Return what a body can have in it. In `summary`, which people read, no name is markup; a field is as it is."""
    return values_of(fields) | {"summary": cut(sentence(without_markup(fields)))} | dict(of_incident)


class Webhook:
    """Posts each alert; if it tells incidents, `cleared` once nothing of one is over any more.

    Errors show the url without user, password and query; of one that is a secret the host alone.
    """

    def __init__(self, settings: WebhookSettings) -> None:
        url = str(settings.url)
        shown = redacted(url, path=not isinstance(settings.url, Secret))
        self._post = HttpPost(url, settings.timeout, shown=shown, options=settings)
        self._body = settings.body
        self._incidents = settings.incidents
        self._open = open_at(f"webhook {settings.name} {url}")

    def send(self, fields: Mapping[str, str]) -> None:
        """Post the alert. Raise TransportError, a permanent one if the receiver will never take it."""
        if not self._incidents or fields["event"] not in EVENTS:
            self._post.post(self._formed(values(fields, {})))
            return
        standing = self._open.standing(fields)
        if fields["event"] != CLEARED or not standing.others:
            of_incident: dict[str, Value] = {
                "incident": standing.incident,
                "open": standing.open_after(fields["event"]),
                "service": service_of(fields) or None,
            }
            self._post.post(self._formed(values(fields, of_incident)))
        self._open.told(fields, standing.incident, time.monotonic())

    def close(self) -> None:
        self._post.close()

    def _formed(self, values: dict[str, Any]) -> Any:
        return values if self._body is None else filled(self._body, values)
