# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is kept: an alert, or whatever was posted, with the fields by which it is found.

Pure: no I/O, the clock is given. Of what comes over HTTP nothing is believed: numbers have bounds, texts lengths.
"""

from __future__ import annotations

import csv
import io
import json
import re
import socket
from dataclasses import dataclass
from hashlib import blake2s
from typing import TYPE_CHECKING, Any

from sockbpf.record.fields import BY_NAME, FIELDS, PLACES_OF_EDITION_2, Kind, Needed, columns

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping

MOST_SECONDS = 253_402_300_800
"""The year 10000, Unix time."""
MOST_INTEGER = 2**63 - 1
MOST_TEXT = 256
"""Characters of a text that is searched for; of what is longer the beginning."""
MOST_PAIRS = 64
"""Of one entry, as many key=value pairs are searched for."""

KNOWN = frozenset(BY_NAME)
"""What an alert says anyway: not worth a pair."""
CHOICES = {field.name: field.choices for field in FIELDS if field.choices}
COLUMNS = {field.name: field.kind for field in columns()}
"""What entries are found by, besides their time, and its kind; the same names in requests and in the table."""
LATER = tuple(field.name for field in columns() if field.column > PLACES_OF_EDITION_2)
"""Of these, those that the tables have not had from the start: null in entries that were kept before."""
NEEDED = tuple(field.name for field in FIELDS if field.needed is Needed.IN_ALERTS)


MAPPED = b"\0" * 10 + b"\xff\xff"
"""What stands before an IPv4 address that is written as one of IPv6."""
SCOPE = re.compile(r"[A-Za-z0-9_.-]{1,32}").fullmatch


class EntryError(ValueError):
    """What came cannot be kept; the text says why and holds nothing of it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing kept. `at_s` is Unix time: its own timestamp, else that of its arrival; `body` is JSON."""

    at_s: float
    body: str
    columns: Mapping[str, object]
    pairs: tuple[tuple[str, str], ...] = ()
    """What it can be found by beyond the columns."""
    key: bytes | None = None
    """What duplicates have in common; None if there are none."""
    episode: Mapping[str, Any] | None = None
    """What it says of its episode."""
    trusted: bool = True
    """Whether it came from the monitor's user, or with the token; else from anybody on this host."""
    n: int | None = None
    arrived_s: float | None = None
    """The number and the arrival, Unix time, of one that was kept before; else both are given when it is written."""


def alert_entry(told: Mapping[str, str]) -> Entry:
    """Return what to keep of an alert's query parameters; raise EntryError where they make no sense."""
    event = told.get("event", "")
    if event not in CHOICES["event"]:
        raise EntryError(f"event: expected one of {', '.join(CHOICES['event'])}")
    body: dict[str, Any] = {
        name: READ[name](name, value) if name in READ else value for name, value in told.items()
    }
    at_s = body.get("timestamp")
    if at_s is None:
        raise EntryError("timestamp: expected Unix seconds such as 1795343123.482913")
    if not told.get("host"):
        raise EntryError("host: expected a host name")
    _check_values(told)
    if event == "heartbeat":
        identity = (told["host"], "", event, told["timestamp"])
    else:
        _check_alert(told)
        identity = (told["host"], told["id"], event, told["seq"])
    return Entry(
        at_s,
        json.dumps(body),
        _columns(body),
        _pairs(body, KNOWN),
        blake2s(json.dumps(identity).encode(), digest_size=16).digest(),
        None if event == "heartbeat" else _episode(body),
    )


def _check_alert(told: Mapping[str, str]) -> None:
    for name in NEEDED:
        if not told.get(name):
            raise EntryError(f"{name}: expected, and not there")


def _check_values(told: Mapping[str, str]) -> None:
    for name, choices in CHOICES.items():
        if name in told and told[name] not in choices:
            raise EntryError(f"{name}: expected one of {', '.join(choices)}")


def posted_entry(value: Mapping[str, Any], now_s: float) -> Entry:
    """Return what to keep of an object that somebody posted, as it is."""
    at_s = value.get("timestamp")
    try:
        at_s = _seconds("timestamp", at_s) if isinstance(at_s, (int, float, str)) else now_s
    except EntryError:
        at_s = now_s
    return Entry(float(at_s), _json(value), _columns(value), _pairs(value, COLUMNS))


def text_entries(text: str) -> list[dict[str, Any]]:
    """Return what was posted as text: the rows of a CSV with a header, anything else as one `text`.

    A table is one if it has a header of different names and at least one row, all as wide as the header.
    """
    try:
        rows = [row for row in csv.reader(io.StringIO(text, newline=""), strict=True) if row]
    except csv.Error:
        rows = []
    header = rows[0] if rows else []
    is_table = (
        len(rows) > 1
        and len(header) > 1
        and len({name.strip() for name in header}) == len(header)
        and all(len(row) == len(header) for row in rows)
    )
    if not is_table:
        return [{"text": text}]
    names = [name.strip() for name in header]
    return [dict(zip(names, row, strict=True)) for row in rows[1:]]


def packed_ip(text: str) -> bytes | None:
    """Return an address as 16 bytes that sort, IPv4 as v4-mapped; None if it is none. A scope is left out."""
    try:
        if ":" not in text:
            return MAPPED + socket.inet_pton(socket.AF_INET, text)
        address, percent, scope = text.partition("%")
        if percent and not SCOPE(scope):
            return None
        return socket.inet_pton(socket.AF_INET6, address)
    except (OSError, ValueError):
        return None


def spelled_in_alert(name: str, value: str) -> tuple[str, ...]:
    """Return how `name` with this value stands in the body of an alert that says it; nowhere if it cannot."""
    if name not in READ or BY_NAME[name].kind is Kind.ADDRESS:
        return (f'"{name}": {json.dumps(value)}',)
    try:
        text = json.dumps(READ[name](name, value))
    except EntryError:
        return ()
    return f'"{name}": {text},', f'"{name}": {text}}}'


def searchable(text: str) -> str:
    """Return a text as the table keeps it: what no database takes is replaced."""
    return text[:MOST_TEXT].replace("\0", "\ufffd").encode(errors="replace").decode()


def _json(value: Any) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        raise EntryError("expected JSON, in which NaN and Infinity are no numbers") from None
    except RecursionError:
        raise EntryError("expected JSON of fewer levels") from None


def _seconds(name: str, value: object) -> float:
    text = str(value)
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if isinstance(value, bool) or not 0 <= number < MOST_SECONDS or "_" in text:
        raise EntryError(f"{name}: expected seconds such as 1795343123.482913")
    return number


def _integer(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= MOST_INTEGER):  # noqa: PLR2004
        raise EntryError(f"{name}: expected a whole number")
    return int(text)


def _address(name: str, text: str) -> str:
    if packed_ip(text) is None:
        raise EntryError(f"{name}: expected an IP address")
    return text


READ: dict[str, Callable[[str, str], object]] = {
    field.name: {Kind.WHOLE: _integer, Kind.SECONDS: _seconds, Kind.ADDRESS: _address}[field.kind]
    for field in FIELDS
    if field.kind is not Kind.TEXT
}
"""How the text of a field is read, of those that are not text; each raises EntryError."""


def column_of(name: str) -> str:
    """Return what the column of a field is called: that of an address holds its bytes."""
    return name.replace("_ip", "_packed") if COLUMNS[name] is Kind.ADDRESS else name


def _columns(body: Mapping[str, Any]) -> dict[str, object]:
    """Return the columns of what has them; a posted object may have anything under the same names."""
    return {column: read(body.get(name)) for name, column, read in COLUMN_READERS}


def _packed(value: object) -> bytes | None:
    return packed_ip(value) if isinstance(value, str) else None


def _text(value: object) -> str | None:
    return searchable(value) if isinstance(value, str) else None


def _whole(value: object) -> int | None:
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < 20:  # noqa: PLR2004
        value = int(value)
    is_whole = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_INTEGER
    return value if is_whole else None  # type: ignore[return-value]


def _second(value: object) -> float | None:
    try:
        return _seconds("", value)
    except EntryError:
        return None


AS_COLUMN: dict[Kind, Callable[[object], object]] = {
    Kind.TEXT: _text,
    Kind.WHOLE: _whole,
    Kind.SECONDS: _second,
    Kind.ADDRESS: _packed,
}
"""From whatever JSON holds to what the column does; None where it is of another kind."""
COLUMN_READERS = tuple((name, column_of(name), AS_COLUMN[kind]) for name, kind in COLUMNS.items())
LATER_READERS = tuple(each for each in COLUMN_READERS if each[0] in LATER)


def _pairs(body: Mapping[str, Any], without: Collection[str]) -> tuple[tuple[str, str], ...]:
    pairs: Iterable[tuple[str, Any]] = ((name, value) for name, value in body.items() if name not in without)
    texts = [
        (searchable(name), searchable(value if isinstance(value, str) else json.dumps(value)))
        for name, value in pairs
        if isinstance(value, (str, int, float, bool))
    ]
    return tuple(dict(texts[:MOST_PAIRS]).items())


def _episode(body: Mapping[str, Any]) -> dict[str, Any]:
    at_s, event = body["timestamp"], body["event"]
    return {
        "host": searchable(body["host"]),
        "id": searchable(body["id"]),
        **{
            name: searchable(str(body[name])) if name in body else None
            for name in ("protocol", "type", "comm")
        },
        "local_ip": searchable(body["local_ip"]) if "local_ip" in body else None,
        "local_packed": packed_ip(body.get("local_ip", "")),
        "local_port": body["local_port"],
        "remote_ip": searchable(body["remote_ip"]) if "remote_ip" in body else None,
        "remote_packed": packed_ip(body.get("remote_ip", "")),
        "remote_port": body.get("remote_port"),
        "pid": body.get("pid"),
        "netns": body.get("netns"),
        "start": max(0.0, at_s - body.get("duration", 0.0)),
        "end": at_s if event == "cleared" else None,
        "last": at_s,
        "size": body["size"],
        "peak": max(body.get("peak", 0), body["size"]),
        "threshold": body["threshold"],
        "alerts": 1,
        **{column: read(body.get(name)) for name, column, read in LATER_READERS},
    }
