# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How the value of a field is read, for each kind of field: from a request, from a filter, for a column of the table.

These are functions, not a model of msgspec or pydantic. What is accepted must not change: for msgspec 7.0 is a whole
number and 007 is none. pydantic with these functions as validators takes a third longer. And with either of them the
code becomes longer, by our error texts and by the names that are no fields and must be kept in their order.
"""

from __future__ import annotations

import re
import socket
from datetime import datetime, timezone
from functools import lru_cache
from math import isfinite
from typing import TYPE_CHECKING

from sockbpf.record.field import Kind

if TYPE_CHECKING:
    from collections.abc import Callable

MOST_SECONDS = 253_402_300_800
"""The year 10000, Unix time."""
MOST_INTEGER = 2**63 - 1
MOST_DIGITS = 19
MOST_TEXT = 256
"""Characters of a text in a column; of a longer text the beginning is kept there, and the whole in the body."""
MAPPED = b"\0" * 10 + b"\xff\xff"
"""The first 12 bytes of an IPv4 address that is written as an IPv6 address."""
MOST_ADDRESS = 45 + 1 + 32
"""Characters of an IP address with its scope."""
SCOPE = re.compile(r"[A-Za-z0-9_.-]{1,32}").fullmatch


class EntryError(ValueError):
    """What a request says cannot be kept or searched for; the text says why, and repeats no value of the request."""


def read_whole(name: str, text: str) -> int:
    """Return a whole number from 0 to MOST_INTEGER; raise EntryError."""
    whole = _whole_or_none(text)
    if whole is None:
        raise EntryError(f"{name}: expected a whole number")
    return whole


def read_seconds(name: str, text: str) -> float:
    """Return seconds, which are not negative; raise EntryError."""
    seconds = seconds_or_none(text)
    if seconds is None:
        raise EntryError(f"{name}: expected seconds such as 1795343123.482913")
    return seconds


def read_address(name: str, text: str) -> str:
    """Return an IP address as it is written; raise EntryError."""
    read_packed(name, text)
    return text


def read_packed(name: str, text: str) -> bytes:
    """Return an IP address as `packed_ip` does; raise EntryError."""
    packed = packed_ip(text)
    if packed is None:
        raise EntryError(f"{name}: expected an IP address")
    return packed


def read_time(name: str, text: str) -> float:
    """Return a time as filters have it: Unix seconds, or ISO 8601, which is UTC unless it says otherwise."""
    try:
        number = float(text.replace("_", "?"))  # Python alone reads 1_000
    except ValueError:
        try:
            when = datetime.fromisoformat(text.replace("Z", "+00:00").replace(" ", "+"))
        except ValueError:
            raise EntryError(
                f"{name}: expected Unix seconds, or a time such as 2026-01-31T12:00:00Z"
            ) from None
        return (when if when.tzinfo else when.replace(tzinfo=timezone.utc)).timestamp()
    if not isfinite(number):
        raise EntryError(f"{name}: expected Unix seconds")
    return number


def packed_ip(text: str) -> bytes | None:
    """Return an IP address as 16 bytes, None if the text is no address.

    IPv4 addresses become v4-mapped IPv6 addresses, so that all of them sort together. A scope (`%eth0`) is left out.
    """
    return _packed(text) if len(text) <= MOST_ADDRESS else None  # what is remembered must not be long


@lru_cache(4096)
def _packed(text: str) -> bytes | None:
    try:
        if ":" not in text:
            return MAPPED + socket.inet_pton(socket.AF_INET, text)
        address, percent, scope = text.partition("%")
        if percent and not SCOPE(scope):
            return None
        return socket.inet_pton(socket.AF_INET6, address)
    except (OSError, ValueError):
        return None


def searchable(text: str, most: int = MOST_TEXT) -> str:
    """Return a text as a column keeps it: shortened, and with what no database takes replaced."""
    text = text[:most]
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "\ufffd").encode(errors="replace").decode()


def seconds_or_none(value: object) -> float | None:
    """Return a number, or a text of one, as seconds; None if it is no such thing, or out of range."""
    text = str(value)
    try:
        seconds = float(text)
    except ValueError:
        return None
    is_time = 0 <= seconds < MOST_SECONDS and "_" not in text and not isinstance(value, bool)
    return seconds + 0.0 if is_time else None  # SQLite gives 0 back for -0


def _whole_or_none(value: object) -> int | None:
    if isinstance(value, str):
        is_number = value.isascii() and value.isdecimal() and len(value) <= MOST_DIGITS
        value = int(value) if is_number else None
    is_whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_INTEGER
    return value if is_whole else None  # type: ignore[return-value]


def _text_or_none(value: object) -> str | None:
    return searchable(value) if isinstance(value, str) else None


def _packed_or_none(value: object) -> bytes | None:
    return packed_ip(value) if isinstance(value, str) else None


def _read_text(_: str, text: str) -> str:
    return searchable(text)


OF_REQUEST: dict[Kind, Callable[[str, str], object]] = {
    Kind.WHOLE: read_whole,
    Kind.SECONDS: read_seconds,
    Kind.ADDRESS: read_address,
}
"""From the name and the text of a parameter to the value in the body; a TEXT stays as it is."""

OF_FILTER: dict[Kind, Callable[[str, str], object]] = {
    Kind.TEXT: _read_text,
    Kind.WHOLE: read_whole,
    Kind.SECONDS: read_time,
    Kind.ADDRESS: read_packed,
}
"""From the name and the text of a filter to the value that the column must have."""

OF_COLUMN: dict[Kind, Callable[[object], object]] = {
    Kind.TEXT: _text_or_none,
    Kind.WHOLE: _whole_or_none,
    Kind.SECONDS: seconds_or_none,
    Kind.ADDRESS: _packed_or_none,
}
"""From the value in the body, which may be any JSON, to that in the column; None if it is of another kind."""
