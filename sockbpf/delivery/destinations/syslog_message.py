# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The text of a syslog message, in the forms of RFC 5424, of RFC 3164 and of syslog(3). Pure functions."""

from __future__ import annotations

import re
import time
from decimal import Decimal
from typing import TYPE_CHECKING

from sockbpf.record.alert import CLEARED, EXCEEDED, ONGOING
from sockbpf.record.text import printable, rfc3339, sentence

if TYPE_CHECKING:
    from collections.abc import Mapping

FACILITIES = (
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
)  # fmt: skip
"""The names of the facilities; the place in the list is the number."""

WARNING, NOTICE, INFO = 4, 5, 6
SEVERITIES = {EXCEEDED: WARNING, ONGOING: WARNING, CLEARED: NOTICE}

ELEMENT = "sockbpf@32473"
"""The name of our structured data. Its number is an enterprise's, and this project has none of its own: 32473 is the
one that RFC 5612 reserves for examples, as in those of RFC 5424."""

BOM = b"\xef\xbb\xbf"

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def priority(event: str, facility: int) -> int:
    """Return the PRI: a queue that is over is a warning, one that has cleared a notice, the rest is information."""
    return facility * 8 + SEVERITIES.get(event, INFO)


def rfc5424(fields: Mapping[str, str], *, facility: int, pid: int, limit: int) -> bytes:
    """Return the message in the form of RFC 5424, at most `limit` bytes.

    Where it is longer the sentence is cut first; where that is not enough, parameters are left out.
    """
    when = rfc3339(Decimal(fields["timestamp"]))
    host, event = _header(fields["host"], 255), _header(fields["event"], 32)
    head = f"<{priority(fields['event'], facility)}>1 {when} {host} sockbpf {pid} {event} ".encode("ascii")
    # ASCII is sent without a byte order mark: most daemons would show the mark.
    text = sentence(fields)
    return _filled(head, fields, text, limit, b" " if text.isascii() else b" " + BOM)


def syslog3(fields: Mapping[str, str], *, facility: int, pid: int, limit: int) -> bytes:
    """Return the message as syslog(3) forms it, at most `limit` bytes; the structured data are at its end.

    Daemons expect this form on /dev/log, and no other: rsyslog, by its default settings, takes a message of RFC 5424
    for one of a program called 1, and journald cannot read it either.
    """
    head = f"<{priority(fields['event'], facility)}>{_local_time(fields)} sockbpf[{pid}]: ".encode("ascii")
    head += _cut(sentence(fields), limit // 2) + b" "
    return head + element(fields, limit - len(head))


def rfc3164(fields: Mapping[str, str], *, facility: int, pid: int, limit: int) -> bytes:
    """Return the message in the form of RFC 3164, at most `limit` bytes: structured data, then the sentence.

    Receivers read of a host's name letters, digits, `.` and `-`; as it is, it stands in the structured data.
    """
    host = re.sub("[^0-9A-Za-z.-]", "-", fields["host"])[:255].strip(".-") or "unknown"
    head = f"<{priority(fields['event'], facility)}>{_local_time(fields)} {host} sockbpf[{pid}]: "
    return _filled(head.encode("ascii"), fields, sentence(fields), limit)


def _filled(
    head: bytes, fields: Mapping[str, str], text: str, limit: int, before_text: bytes = b" "
) -> bytes:
    """Return the head with the structured data and, as far as there is room, the text."""
    head += element(fields, limit - len(head))
    shortened = _cut(text, limit - len(head) - len(before_text))
    return head + before_text + shortened if shortened else head


def _local_time(fields: Mapping[str, str]) -> str:
    at = time.localtime(int(Decimal(fields["timestamp"])))
    return f"{MONTHS[at.tm_mon - 1]} {at.tm_mday:2d} {at.tm_hour:02d}:{at.tm_min:02d}:{at.tm_sec:02d}"


def element(fields: Mapping[str, str], limit: int) -> bytes:
    """Return an SD-ELEMENT of the alert's parameters, without those for which `limit` bytes have no room.

    Control characters of the values are escaped: daemons write one message on each line of a file.
    """
    made, room = [f"[{ELEMENT}".encode("ascii")], limit - len(f"[{ELEMENT}]")
    for key, value in fields.items():
        name = re.sub(r'[^!-~]|[="\]]', "_", key)[:32]
        escaped = re.sub(r'(["\\\]])', r"\\\1", printable(value))
        parameter = f' {name}="{escaped}"'.encode()
        if len(parameter) <= room:
            made.append(parameter)
            room -= len(parameter)
    return b"".join(made) + b"]"


def _header(text: str, most: int) -> str:
    return re.sub("[^!-~]", "?", text)[:most] or "-"


def _cut(text: str, limit: int) -> bytes:
    """Return at most `limit` bytes of UTF-8, whole characters."""
    return text.encode()[: max(0, limit)].decode(errors="ignore").encode()
