# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""An alert in words and its time as a date, for destinations that people read."""

from __future__ import annotations

import re
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING, Common
from sockbpf.record.event import Direction
from sockbpf.record.facts import Condition
from sockbpf.record.fields import FIELDS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from decimal import Decimal

PHRASES = {
    EXCEEDED: "holds {size} bytes, over {threshold}",
    ONGOING: "still holds {size} bytes, over {threshold} for {duration} s, peak {peak}",
    CLEARED: "is back at {size} bytes after {duration} s over {threshold}, peak {peak}",
}

PHRASES_OF = {
    Condition.ACCEPT.value: {
        EXCEEDED: "has {size} connections waiting, over {threshold}",
        ONGOING: "still has {size} connections waiting, over {threshold} for {duration} s, peak {peak}",
        CLEARED: "is back at {size} waiting connections after {duration} s over {threshold}, peak {peak}",
    },
    Condition.STALLED.value: {
        EXCEEDED: "is stalled: it holds {size} bytes and nothing leaves it",
        ONGOING: "is still stalled: it holds {size} bytes, nothing has left it for {duration} s",
        CLEARED: "is not stalled any more: nothing had left it for {duration} s, it holds {size} bytes now",
    },
}
"""Of a condition that is put otherwise than one of size."""

UNACCEPTED = {
    EXCEEDED: "is stalled: {size} connections wait and nobody accepts them",
    ONGOING: "is still stalled: {size} connections wait, nobody has accepted any for {duration} s",
    CLEARED: "is not stalled any more: nobody had accepted for {duration} s, {size} connections wait now",
}
"""Of ACCEPT that is stalled."""

DROPS_OF = {Condition.ACCEPT.value: " (backlog {limit}, dropped {drops})"}
"""What else is said of a condition, if `drops` is there."""

WHERE = {
    Common.LOCAL_SERVICE.value: " on local port {local_port}",
    Common.REMOTE_SERVICE.value: "{remote}",
    Common.PROCESS.value: "",
    Common.USER.value: " of one user",
    Common.RULE.value: " of rule {rule}",
}
"""Which sockets a folded alert is about, by what they have in common."""


PHRASES_OF_RATES = {
    EXCEEDED: "rises by {size} a {per}, over {threshold}",
    ONGOING: "still rises by {size} a {per}, over {threshold} for {duration} s, peak {peak}",
    CLEARED: "is back at {size} a {per} after {duration} s over {threshold}, peak {peak}",
}


class _Fields(dict[str, str]):
    """The fields of an alert; a field that is not there is a question mark, so that a sentence can be made."""

    def __missing__(self, _: str) -> str:
        return "?"


def sentence(fields: Mapping[str, str]) -> str:
    """Return an alert as one line for people; all of it is printable, whatever name a process has given itself."""
    known = _Fields(fields)
    if known["event"] not in PHRASES:
        return printable(f"{known['event']}, last alert {known['seq']}")
    if known["type"] == "RATE":
        return printable(_sentence_of_rate(known))
    phrase = _phrases(known)[known["event"]].format_map(known)
    if "drops" in fields:
        phrase += DROPS_OF.get(known["condition"], "").format_map(known)
    if "count" in fields:
        whose = " of {comm}, pid {pid}" if "pid" in fields else ""
        where = WHERE.get(known["fold"], WHERE[Common.LOCAL_SERVICE.value])
        what = f"{{type}} queues of {{count}} {{protocol}} sockets{where}{whose}: the worst {{phrase}}"
        ends = " ({worst})" if "worst" in fields else ""
    else:
        what = "{type} queue of {protocol} {local}{remote} {phrase}"
        ends = " ({comm}, pid {pid})" if "pid" in fields else ""
    if "reason" in fields:
        ends += ": {reason}"
    if "ended" in fields:
        ends += "; {ended} episodes ended meanwhile, this one was the worst: {unsent} alerts are left out"
    if "crossings" in fields:
        phrase += ", crossed {crossings} times since the last alert".format_map(known)
    remote = "" if known["remote_port"] in {"0", "?"} else f" to {_endpoint(known, 'remote')}"
    known |= {"phrase": phrase, "local": _endpoint(known, "local"), "remote": remote}
    return printable((what + ends).format_map(known))


def _phrases(known: Mapping[str, str]) -> Mapping[str, str]:
    if (known["type"], known["condition"]) == (Direction.ACCEPT.name, Condition.STALLED.value):
        return UNACCEPTED
    return PHRASES_OF.get(known["condition"], PHRASES)


def _sentence_of_rate(known: _Fields) -> str:
    phrase = PHRASES_OF_RATES[known["event"]]
    if "crossings" in known:
        phrase += ", crossed {crossings} times since the last alert"
    if "worst" in known:
        phrase += "; dropped by {worst}"
    ends = " ({comm}, pid {pid})" if "pid" in known else ""
    if "ended" in known:
        ends += "; {ended} episodes ended meanwhile, this one was the worst: {unsent} alerts are left out"
    return f"{{severity}}: {{name}} of network namespace {{netns}} {phrase}{ends}".format_map(known)


LOOKALIKES = str.maketrans(
    "@*`~<>|#[]()!:/$",
    "\uff20\u2217\u02cb\u223c\u2039\u203a\u00a6\uff03\uff3b\uff3d\uff08\uff09\uff01\uff1a\u2215\uff04",
)
"""Characters that a chat takes for markup (a mention, a format, a link, an emoji) -> similar ones without meaning."""

NOT_CHOSEN = frozenset(field.name for field in FIELDS if not field.chosen)
"""The fields whose text no user can choose freely; the names of processes and hosts can be chosen."""


def without_markup(fields: Mapping[str, str]) -> dict[str, str]:
    """Return the fields with names in which a chat finds no markup, only text."""
    plain = {key: text if key in NOT_CHOSEN else _plain(text) for key, text in fields.items()}
    return plain | ({"reason": _of_ours(plain["reason"])} if "reason" in plain else {})


def _plain(text: str) -> str:
    # No chat takes an underscore within a word, or a dot at its end, for markup.
    text = re.sub(r"(?<![A-Za-z0-9])_|_(?![A-Za-z0-9])", "\uff3f", text.translate(LOOKALIKES))
    return re.sub(r"\.(?=[^\W_])", "\uff0e", text)


def _of_ours(reason: str) -> str:
    """Return a sentence of ours with its own punctuation again, which is no markup where it stands.

    That is a colon before a space, a point between digits, and brackets around letters, digits and percent signs.
    """
    reason = re.sub("(?<= )\uff08([A-Za-z0-9 %]*)\uff09", r"(\1)", reason.replace("\uff1a ", ": "))
    return re.sub("(?<=[0-9])\uff0e(?=[0-9])", ".", reason)


def _endpoint(fields: Mapping[str, str], end: str) -> str:
    ip, port = fields[f"{end}_ip"], fields[f"{end}_port"]
    return f"[{ip}]:{port}" if ":" in ip else f"{ip}:{port}"


def printable(text: str) -> str:
    """Return the text with all that is not printable as a backslash escape: nobody can forge another line."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def rfc3339(seconds: Decimal) -> str:
    """Return Unix time, seconds, as a date of UTC with microseconds; exactly, as no float could."""
    whole, part = divmod(seconds, 1)
    return f"{datetime.fromtimestamp(int(whole), timezone.utc):%Y-%m-%dT%H:%M:%S}.{int(part * 10**6):06d}Z"
