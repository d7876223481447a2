# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""From what a request brings to what is kept: an alert, or any object that was posted.

Pure: no I/O, and the present time is an argument. Nothing that comes over HTTP is believed: numbers have bounds,
texts have lengths.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from hashlib import blake2s
from typing import TYPE_CHECKING, Any

from sockbpf.counters import NAMES
from sockbpf.record.alert import CLEARED, OF_MONITOR
from sockbpf.record.event import Direction
from sockbpf.record.field import Kind, Needed
from sockbpf.record.fields import BY_NAME, FIELDS
from sockbpf.store.data.columns import COLUMNS, columns_of, shown_of
from sockbpf.store.data.values import OF_REQUEST, EntryError, searchable, seconds_or_none
from sockbpf.store.data.words import word_of

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

MOST_PAIRS = 64
"""Of one entry, so many key=value pairs can be searched for."""

IN_BODY = frozenset(BY_NAME) | frozenset(NAMES)
"""Of its fields, and of a heartbeat's counters, an alert has no pairs: these are looked for in its body. Pairs of
fifty counters would take three times the room of all else that is kept of a heartbeat."""
CHOICES = {field.name: field.choices for field in FIELDS if field.choices}
NEEDED = tuple(field.name for field in FIELDS if field.needed is Needed.IN_ALERTS)
NEEDED_OF_SOCKETS = tuple(field.name for field in FIELDS if field.needed is Needed.OF_SOCKETS)
NEEDED_OF_RATES = tuple(field.name for field in FIELDS if field.needed is Needed.OF_RATES)
READ = {field.name: OF_REQUEST[field.kind] for field in FIELDS if field.kind is not Kind.TEXT}
"""For each field that is not a text: what reads its parameter, or raises EntryError."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing that is kept."""

    at_s: float
    """Unix time: its own timestamp, or if it has none, its arrival."""
    body: str
    """JSON in ASCII: what is given back."""
    columns: Mapping[str, object]
    pairs: tuple[tuple[str, str], ...] = ()
    """Names and values that it can be found by besides the columns."""
    key: bytes | None = None
    """The same in all copies of an alert; None for what was posted, which is kept as often as it comes."""
    episode: Mapping[str, Any] | None = None
    """What an alert reports of its episode, as a row of that table."""
    word: Mapping[str, Any] | None = None
    """What an alert reports of its host, as a row of that table."""
    trusted: bool = True
    """Whether the monitor's user sent it, or somebody with the token; else it may be from anybody on this host."""
    fill: object = None
    """Of an alert: how full the buffer was, percent, where that is known."""
    n: int | None = None
    """The number that it had in an older file; None if the database is to give it one."""
    arrived_s: float | None = None
    """Unix time of its arrival in an older file; None if it arrives now."""
    digest: bytes | None = None
    """That of its row, where it was made beforehand."""


def alert_entry(fields: Mapping[str, str], *, is_trusted: bool = True) -> Entry:
    """Return the entry of an alert from the parameters of its request; raise EntryError if they make no sense.

    One that is not trusted is no copy of one that is: who guesses an alert's id and number does not keep it out.
    """
    event = fields.get("event", "")
    if event not in CHOICES["event"]:
        raise EntryError(f"event: expected one of {', '.join(CHOICES['event'])}")
    body: dict[str, Any] = {
        name: READ[name](name, value) if name in READ else value for name, value in fields.items()
    }
    if "timestamp" not in body:
        raise EntryError("timestamp: expected Unix seconds such as 1795343123.482913")
    if not fields.get("host"):
        raise EntryError("host: expected a host name")
    for name, choices in CHOICES.items():
        if name in fields and fields[name] not in choices:
            raise EntryError(f"{name}: expected one of {', '.join(choices)}")
    columns = columns_of(body)
    if event in OF_MONITOR:
        identity = (fields["host"], fields.get("id", ""), event, fields["timestamp"])
        episode = None
    else:
        of_type = NEEDED_OF_RATES if fields.get("type") == Direction.RATE.name else NEEDED_OF_SOCKETS
        for name in (*NEEDED, *of_type):
            if not fields.get(name):
                raise EntryError(f"{name}: expected, and not there")
        identity = (fields["host"], fields["id"], event, fields["seq"])
        episode = _episode(body, columns)
    of_whom = () if is_trusted else ("anybody",)
    key = blake2s(json.dumps((*identity, *of_whom)).encode(), digest_size=16).digest()
    return Entry(
        body["timestamp"],
        json.dumps(body),
        columns,
        _pairs(body, IN_BODY),
        key,
        episode,
        word_of(body, columns),
        is_trusted,
        fill=body.get("fill"),
    )


def posted_entry(value: Mapping[str, Any], now_s: float) -> Entry:
    """Return the entry of an object that was posted, unchanged; raise EntryError if it is no JSON."""
    at_s = seconds_or_none(value.get("timestamp"))
    return Entry(
        float(now_s if at_s is None else at_s), _json(value), columns_of(value), _pairs(value, COLUMNS)
    )


def spelled_in_alert(name: str, value: str) -> tuple[str, ...]:
    """Return texts by which an alert is found whose field `name` has this value.

    One of them stands in the body of each such alert, and in no other alert's body. There are none if the field
    cannot have this value.
    """
    if name not in READ or BY_NAME[name].kind is Kind.ADDRESS:
        return (f'"{name}": {json.dumps(value)}',)
    try:
        text = json.dumps(READ[name](name, value))
    except EntryError:
        return ()
    return f'"{name}": {text},', f'"{name}": {text}}}'


def _json(value: Mapping[str, Any]) -> str:
    try:
        return json.dumps(value, allow_nan=False)
    except ValueError:
        raise EntryError("expected JSON, in which NaN and Infinity are no numbers") from None
    except RecursionError:
        raise EntryError("expected JSON of fewer levels") from None


def _pairs(body: Mapping[str, Any], without: Collection[str]) -> tuple[tuple[str, str], ...]:
    texts = [
        (searchable(name), searchable(value if isinstance(value, str) else json.dumps(value)))
        for name, value in body.items()
        if name not in without and isinstance(value, (str, int, float, bool))
    ]
    return tuple(dict(texts[:MOST_PAIRS]).items())


def _episode(body: Mapping[str, Any], columns: Mapping[str, object]) -> dict[str, Any]:
    """Return what an alert, by its body and columns, reports of its episode."""
    at_s = body["timestamp"]
    episode = {
        **columns,
        **shown_of(body),
        **{name: searchable(body[name]) if name in body else None for name in ("local_ip", "remote_ip")},
        "netns": body.get("netns"),
        "start": max(0.0, at_s - body.get("duration", 0.0)),
        "end": at_s if body["event"] == CLEARED else None,
        "last": at_s,
        "peak": max(body.get("peak", 0), body["size"]),
        "threshold": body["threshold"],
        "alerts": 1,
        "seq": body["seq"],
        "ended_by": None,
        "stamps": None,
        "before": None,
    }
    del episode["event"]  # an episode has several
    return episode
