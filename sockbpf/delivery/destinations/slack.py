# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""An incoming webhook of Slack, or of a chat that takes the same messages: Mattermost, Rocket.Chat."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING

from sockbpf.delivery.destinations.http_get import redacted
from sockbpf.delivery.destinations.http_post import HttpPost
from sockbpf.delivery.destinations.values import cut
from sockbpf.record.alert import CLEARED, EVENTS
from sockbpf.record.facts import Condition, Severity
from sockbpf.record.incident import service_of
from sockbpf.record.text import printable, rfc3339, sentence, without_markup

if TYPE_CHECKING:
    from collections.abc import Mapping


MOST = 1000
"""The most characters of a line: Slack asks for at most 4000 in a text, and cuts one of 40 000."""

OF_LINES = ("pid", "comm", "reason")
"""The fields that have a line of their own: the sentence with the numbers does without."""

WHOSE = {
    "unit": "unit {}",
    "container": "container {}",
    "container_name": "called {}",
    "user": "user {}",
    "netns_name": "network namespace {}",
}


def text_of(fields: Mapping[str, str]) -> str:
    """Return the message, in Slack's mrkdwn; the reader's client shows the time in the reader's zone.

    What matters most is the first line: why, where that is known; of what is over no more, that it is. Then come what
    happened, where and whose it is, and the numbers. No name can notify people (@channel) or format the text.
    """
    fields = without_markup(fields)
    numbers = sentence({name: text for name, text in fields.items() if name not in OF_LINES}) + _share(fields)
    why = fields.get("reason", "")
    if fields["event"] == CLEARED:
        first, last = numbers, f"it was: {why}" if why else ""
    else:
        first, last = why or numbers, numbers if why else ""
    lines = (_escaped(cut(printable(first), MOST)), _where(fields), _escaped(cut(printable(last), MOST)))
    return "\n".join(line for line in lines if line)


def _share(fields: Mapping[str, str]) -> str:
    if fields.get("condition") == Condition.ACCEPT.value:  # whose sentence has them
        return ""
    is_over = fields["event"] != CLEARED
    full = f", its buffer is {fields['fill']} % full" if is_over and "fill" in fields else ""
    return full + (f", {fields['drops']} dropped" if fields.get("drops", "0") != "0" else "")


def _where(fields: Mapping[str, str]) -> str:
    """Return what happened, to which service of which host, when, and to whom: service and host name the incident."""
    seconds = Decimal(fields["timestamp"])
    when = f"<!date^{int(seconds)}^{{date_short_pretty}} {{time_secs}}|{rfc3339(seconds)}>"
    severity = ", critical," if fields.get("severity") == Severity.CRITICAL.value else ""
    whose = [f"{fields.get('comm', '?')} (pid {fields['pid']})"] if "pid" in fields else []
    whose += [phrase.format(fields[name]) for name, phrase in WHOSE.items() if name in fields]
    if "peer_pid" in fields:
        whose.append(f"the other end is {fields.get('peer_comm', '?')} (pid {fields['peer_pid']})")
    ends = f": {_escaped(cut(printable(', '.join(whose)), MOST))}" if whose else ""
    service = f" of {_escaped(service_of(fields))}" if service_of(fields) else ""
    return f"*{fields['event']}*{severity}{service} on {_escaped(cut(printable(fields['host']), MOST))}, {when}{ends}"


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
