# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""An incoming webhook of Slack, and of whatever takes the same: Mattermost, Rocket.Chat."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from sockbpf.delivery.destinations.http_get import redacted
from sockbpf.delivery.destinations.http_post import HttpPost
from sockbpf.record.alert import EVENTS
from sockbpf.record.text import printable, rfc3339, sentence, without_markup

if TYPE_CHECKING:
    from collections.abc import Mapping


def text_of(fields: Mapping[str, str]) -> str:
    """Return the message, in Slack's mrkdwn; the reader's client shows the time in the reader's zone.

    Nobody is called and nothing is formatted by what a process or a host is called.
    """
    fields = without_markup(fields)
    seconds = Decimal(fields["timestamp"])
    when = f"<!date^{int(seconds)}^{{date_short_pretty}} {{time_secs}}|{rfc3339(seconds)}>"
    return (
        f"*{fields['event']}* on {_escaped(printable(fields['host']))}, {when}: {_escaped(sentence(fields))}"
    )


def _escaped(text: str) -> str:
    """Return the text with the three characters escaped that Slack reads."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Slack:
    """Posts a line for each alert to `url`, all of which is a secret but its host. Heartbeats are not for people."""

    def __init__(self, *, url: str, timeout_s: float) -> None:
        self._post = HttpPost(url, timeout_s, shown=redacted(url, path=False))

    def send(self, fields: Mapping[str, str]) -> None:
        """Post the alert. Raise TransportError; one that Slack will never take is permanent."""
        if fields["event"] in EVENTS:
            self._post.post({"text": text_of(fields)})

    def close(self) -> None:
        self._post.close()
