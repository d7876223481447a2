# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""An incoming webhook of Slack, or of a chat that takes the same messages: Mattermost, Rocket.Chat."""

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

    The name of a process or a host can neither notify people (@channel) nor format the text.
    """
    fields = without_markup(fields)
    seconds = Decimal(fields["timestamp"])
    when = f"<!date^{int(seconds)}^{{date_short_pretty}} {{time_secs}}|{rfc3339(seconds)}>"
    return (
        f"*{fields['event']}* on {_escaped(printable(fields['host']))}, {when}: {_escaped(sentence(fields))}"
    )


def _escaped(text: str) -> str:
    """Return the text with the three characters escaped that mean something to Slack."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


class Slack:
    """Posts a message for each alert to `url`, of which all but the host is secret. Heartbeats are not posted."""

    def __init__(self, *, url: str, timeout_s: float) -> None:
        self._post = HttpPost(url, timeout_s, shown=redacted(url, path=False))

    def send(self, fields: Mapping[str, str]) -> None:
        """Post the alert. Raise TransportError, a permanent one if Slack will never take the alert."""
        if fields["event"] in EVENTS:
            self._post.post({"text": text_of(fields)})

    def close(self) -> None:
        self._post.close()
