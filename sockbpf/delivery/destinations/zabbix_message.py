# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is sent to a Zabbix server or proxy, and what its answer means: as zabbix_sender has it. Pure functions."""

from __future__ import annotations

import json
import re
import struct
from decimal import Decimal
from typing import TYPE_CHECKING

from sockbpf.delivery.destinations.json_lines import line_of
from sockbpf.delivery.transport import TransportError
from sockbpf.record.text import printable, sentence

if TYPE_CHECKING:
    from collections.abc import Mapping

ITEM = "sockbpf.alert"
"""The key of the item, of the type Zabbix trapper, that gets the alerts."""

VALUE_BYTES = 65_535
"""The longest value of an item of the type text."""

HEAD = struct.Struct("<4sBII")
"""ZBXD, flags, the length of what follows, and of a compressed message its length before."""

MAGIC, PLAIN = b"ZBXD", 1
"""How every message begins; the flags of one that is neither compressed nor a large packet."""

ANSWER_BYTES = 65_536
"""The longest answer that is read; a server's is some hundred bytes."""

COUNTS = re.compile(r"processed: (\d{1,9}); failed: (\d{1,9}); total: (\d{1,9})(?:;|$)")
SHOWN_CHARACTERS = 100
"""So much of what a server says is shown in the log."""


def request_of(fields: Mapping[str, str], host: str) -> bytes:
    """Return the message with the alert as the value of the item of this host, at the time of the crossing."""
    seconds, part = divmod(Decimal(fields["timestamp"]), 1)
    value = {
        "host": host,
        "key": ITEM,
        "value": value_of(fields),
        "clock": int(seconds),
        "ns": int(part * 10**9),
    }
    return framed(json.dumps({"request": "sender data", "data": [value]}).encode("ascii"))


def value_of(fields: Mapping[str, str], limit: int = VALUE_BYTES) -> str:
    """Return the alert as JSON, in ASCII: its fields, and `text`, a sentence.

    Fields for which `limit` bytes have no room are left out.
    """
    made, room = [], limit - len("{}")
    for name, text in (*fields.items(), ("text", sentence(fields))):
        member = line_of({name: text})[1:-1]
        if len(member) < room:
            made.append(member)
            room -= len(member) + len(",")
    return "{" + ",".join(made) + "}"


def framed(message: bytes) -> bytes:
    """Return the message with the header before it."""
    return HEAD.pack(MAGIC, PLAIN, len(message), 0) + message


def length_of(head: bytes) -> int:
    """Return how long the answer is that begins with this header. Raise TransportError if it is none."""
    magic, flags, length, _ = HEAD.unpack(head)
    if (magic, flags) != (MAGIC, PLAIN):
        raise TransportError("answered by something else than Zabbix")
    if length > ANSWER_BYTES:
        raise TransportError(f"answered with {length} bytes, more than {ANSWER_BYTES}")
    return int(length)


def check_answer(answer: bytes, host: str) -> None:
    """Return if the server took the value. Raise TransportError, a permanent one if it will never take it."""
    try:
        said = json.loads(answer)
        response, info = said["response"], said.get("info", "")
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise TransportError("answered without saying what became of the value") from None
    if isinstance(said.get("redirect"), dict):
        raise TransportError(
            "answers that another proxy of its group is for this host: name the server instead"
        )
    counts = COUNTS.match(info) if isinstance(info, str) else None
    if response != "success" or counts is None:
        raise TransportError(f"answered {_shown(response)}: {_shown(info)}")
    processed, failed, _ = map(int, counts.groups())
    if failed or not processed:
        raise TransportError(
            f"not taken: the host {_shown(host)} has no enabled item {ITEM} of the type Zabbix trapper there that "
            f"allows this host ({_shown(info)})",
            permanent=True,
        )


def _shown(said: object) -> str:
    return printable(str(said))[:SHOWN_CHARACTERS]
