"""From the filters of a request to what is found, newest first, a page at a time."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import math
import struct
from dataclasses import dataclass
from datetime import datetime, timezone
from itertools import accumulate, product
from typing import TYPE_CHECKING, Any

from sqlalchemy import and_, exists, func, or_, select

from sockbpf.store.entry import (
    EVENTS,
    KNOWN,
    MOST_INTEGER,
    NUMBERS,
    PROTOCOLS,
    SECONDS,
    TYPES,
    EntryError,
    packed_ip,
    searchable,
)
from sockbpf.store.schema import ENTRY, EPISODE, PAIR

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from sqlalchemy import ColumnElement, Connection, Select, Table

MOST_ROWS = 1000
ROWS = 100
MOST_BYTES = 8 * 2**20
"""Of the objects of one page, but for one that is larger."""
MOST_FILTERS = 16
CHOICES = {"event": EVENTS, "protocol": PROTOCOLS, "type": TYPES}
EITHER_END = ("ip", "port", "cidr")
TEXTS = ("host", "comm", "id")
WHOLE = ("pid", "size", "local_port", "remote_port")
ADDRESSES = ("local_ip", "remote_ip")
BOUNDS = ("from", "to", "limit", "cursor")
SORTS = {"start": EPISODE.c.start, "peak": EPISODE.c.peak, "last": EPISODE.c.last, "size": EPISODE.c.size}


class FilterError(EntryError):
    """A filter makes no sense; the text says why and holds nothing of it."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What is asked for, checked. Times are Unix seconds."""

    from_s: float | None
    to_s: float | None
    limit: int
    before: tuple[float, int] | None
    """Time and n of the last of the page before."""
    plain: Mapping[str, object]
    min_size: int | None
    ends: Mapping[str, Any]
    """What either end of a socket is to have: ip, port, cidr."""
    pairs: tuple[tuple[str, str], ...]
    open: bool | None = None
    sort: str = "start"


def parse(asked: Iterable[tuple[str, str]], *, episodes: bool = False) -> Filter:
    """Read the parameters of a request; raise FilterError."""
    given: dict[str, str] = {}
    for name, value in asked:
        if name in given:
            raise FilterError(f"{name if name.isidentifier() else 'a filter'}: expected once")
        given[name] = value
    if len(given) > MOST_FILTERS:
        raise FilterError(f"expected at most {MOST_FILTERS} filters")
    own = {"open", "sort"} if episodes else set()
    plain: dict[str, object] = {name: searchable(given[name]) for name in TEXTS if name in given}
    plain |= {name: _whole(name, given[name]) for name in WHOLE if name in given}
    plain |= {name.replace("_ip", "_packed"): _ip(name, given[name]) for name in ADDRESSES if name in given}
    for name, choices in CHOICES.items():
        if name in given:
            if given[name] not in choices:
                raise FilterError(f"{name}: expected one of {', '.join(choices)}")
            plain[name] = given[name]
    known = {*BOUNDS, *CHOICES, *EITHER_END, *own, *TEXTS, *WHOLE, *ADDRESSES, "min_size"}
    pairs = tuple((searchable(n), searchable(v)) for n, v in given.items() if n not in known)
    if episodes and (pairs or "event" in plain or "cursor" in given):
        raise FilterError("episodes are not found by event, nor by cursor, nor by key=value")
    return Filter(
        from_s=_time("from", given["from"]) if "from" in given else None,
        to_s=_time("to", given["to"]) if "to" in given else None,
        limit=_limit(given.get("limit", str(ROWS))),
        before=_before(given["cursor"]) if "cursor" in given else None,
        plain=plain,
        min_size=_whole("min_size", given["min_size"]) if "min_size" in given else None,
        ends=_ends(given),
        pairs=pairs,
        open=_flag("open", given["open"]) if episodes and "open" in given else None,
        sort=_sort(given.get("sort", "start")) if episodes else "start",
    )


def cursor(at_s: float, n: int) -> str:
    """Return what names the place behind an entry."""
    return base64.urlsafe_b64encode(struct.pack(">dq", at_s, n)).decode().rstrip("=")


def find(connection: Connection, asked: Filter) -> tuple[list[tuple[int, float, str]], bool]:
    """Return n, time and body of what is found, and whether there may be more.

    Newest first, of one time the last that came first.
    """
    rows: set[tuple[int, float, int]] = set()
    for sides in _sides(asked):
        rows |= set(_placed(connection, _bounded(PLACES, ENTRY, asked, sides)))
    places = sorted(rows, key=lambda row: (-row[1], -row[0]))[: asked.limit]
    page = _page(places)
    return _with_bodies(connection, page), len(page) < len(places) or len(places) == asked.limit


def find_episodes(connection: Connection, asked: Filter) -> list[dict[str, Any]]:
    """Return episodes as they stand, by what `sort` says, greatest first."""
    found: dict[tuple[str, str], dict[str, Any]] = {}
    hidden = {"local_packed", "remote_packed"}
    by = SORTS[asked.sort]
    for sides in _sides(asked):
        statement = select(EPISODE).where(*_conditions(EPISODE, asked, sides))
        if asked.from_s is not None:  # one that reaches into the range
            statement = statement.where(or_(EPISODE.c.last >= asked.from_s, EPISODE.c.end.is_(None)))
        if asked.to_s is not None:
            statement = statement.where(EPISODE.c.start < asked.to_s)
        if asked.open is not None:
            statement = statement.where(EPISODE.c.end.is_(None) if asked.open else EPISODE.c.end.is_not(None))
        statement = statement.order_by(by.desc(), EPISODE.c.host, EPISODE.c.id).limit(asked.limit)
        for row in connection.execute(statement).mappings():
            found[row["host"], row["id"]] = {name: value for name, value in row.items() if name not in hidden}
    return sorted(found.values(), key=lambda row: -row[asked.sort])[: asked.limit]


def since(connection: Connection, n: int, limit: int) -> list[tuple[int, float, str]]:
    """Return what came after an entry, oldest first."""
    places = _placed(connection, PLACES.where(ENTRY.c.n > n).order_by(ENTRY.c.n).limit(limit))
    return _with_bodies(connection, _page(places))


PLACES = select(ENTRY.c.n, ENTRY.c.at, func.length(ENTRY.c.body).label("size"))
"""Of what is found first its size alone: a thousand bodies may be more than memory holds."""


def _placed(connection: Connection, statement: Select[Any]) -> list[tuple[int, float, int]]:
    return [(row[0], row[1], row[2]) for row in connection.execute(statement)]


def _page(places: Sequence[tuple[int, float, int]]) -> Sequence[tuple[int, float, int]]:
    """Return as many of the first as make a page."""
    sizes = accumulate(size for _, _, size in places)
    return places[: max(1, sum(size <= MOST_BYTES for size in sizes))]


def _with_bodies(
    connection: Connection, places: Sequence[tuple[int, float, int]]
) -> list[tuple[int, float, str]]:
    if not places:
        return []
    times = [at_s for _, at_s, _ in places]
    statement = select(ENTRY.c.n, ENTRY.c.body).where(
        ENTRY.c.n.in_([n for n, _, _ in places]), ENTRY.c.at.between(min(times), max(times))
    )
    bodies = {row.n: row.body for row in connection.execute(statement)}
    return [(n, at_s, bodies[n]) for n, at_s, _ in places if n in bodies]


def _sides(asked: Filter) -> list[dict[str, str]]:
    """Return for each filter of either end the end that it looks at: a select for each has an index of its own."""
    return [
        dict(zip(asked.ends, ends, strict=True))
        for ends in product(("local", "remote"), repeat=len(asked.ends))
    ]


def _bounded(statement: Select[Any], table: Table, asked: Filter, sides: dict[str, str]) -> Select[Any]:
    statement = statement.where(*_conditions(table, asked, sides))
    if asked.from_s is not None:
        statement = statement.where(table.c.at >= asked.from_s)
    if asked.to_s is not None:
        statement = statement.where(table.c.at < asked.to_s)
    if asked.before is not None:
        at_s, n = asked.before
        statement = statement.where(
            table.c.at <= at_s, or_(table.c.at < at_s, and_(table.c.at == at_s, table.c.n < n))
        )
    return statement.order_by(table.c.at.desc(), table.c.n.desc()).limit(asked.limit)


def _conditions(table: Table, asked: Filter, sides: dict[str, str]) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = [table.c[name] == value for name, value in asked.plain.items()]
    if asked.min_size is not None:
        wanted.append((table.c.size if table is ENTRY else table.c.peak) >= asked.min_size)
    for name, side in sides.items():
        column = table.c[f"{side}_port" if name == "port" else f"{side}_packed"]
        value = asked.ends[name]
        wanted.append(column.between(*value) if name == "cidr" else column == value)
    if table is ENTRY:
        wanted += [_says(name, value) for name, value in asked.pairs]
    return wanted


def _says(name: str, value: str) -> ColumnElement[bool]:
    """Return the condition that an object has this value under this name."""
    is_pair = exists().where(PAIR.c.n == ENTRY.c.n, PAIR.c.name == name, PAIR.c.value == value)
    written = _written(name, value) if name in KNOWN else None
    if written is None:
        return is_pair
    # What every alert says has no pairs. An alert is flat, so that in its JSON nothing else looks like this.
    shorter = [func.replace(ENTRY.c.body, f'"{name}": {written}{end}', "") for end in ",}"]
    return or_(is_pair, and_(ENTRY.c.key.is_not(None), or_(*(text != ENTRY.c.body for text in shorter))))


def _written(name: str, value: str) -> str | None:
    """Return a value as the JSON of an alert has it, None where none has it."""
    if name in NUMBERS:
        return value if value.isascii() and value.isdecimal() else None
    if name in SECONDS:
        try:
            return json.dumps(float(value))
        except ValueError:
            return None
    return json.dumps(value)


def _ends(given: Mapping[str, str]) -> dict[str, Any]:
    ends: dict[str, Any] = {}
    if "ip" in given:
        ends["ip"] = _ip("ip", given["ip"])
    if "port" in given:
        ends["port"] = _whole("port", given["port"])
    if "cidr" in given:
        try:
            net = ipaddress.ip_network(given["cidr"], strict=False)
        except ValueError:
            raise FilterError("cidr: expected a network such as 192.0.2.0/24") from None
        ends["cidr"] = (packed_ip(str(net[0])), packed_ip(str(net[-1])))
    return ends


def _ip(name: str, text: str) -> bytes:
    packed = packed_ip(text)
    if packed is None:
        raise FilterError(f"{name}: expected an IP address")
    return packed


def _time(name: str, text: str) -> float:
    try:
        number = float(text.replace("_", "?"))  # Python alone reads 1_000
    except ValueError:
        try:
            when = datetime.fromisoformat(text.replace("Z", "+00:00").replace(" ", "+"))
        except ValueError:
            raise FilterError(
                f"{name}: expected Unix seconds, or a time such as 2026-01-31T12:00:00Z"
            ) from None
        when = when if when.tzinfo else when.replace(tzinfo=timezone.utc)
        return when.timestamp()
    if not math.isfinite(number):
        raise FilterError(f"{name}: expected Unix seconds")
    return number


def time_of(name: str, text: str) -> float:
    """Read a time as filters have it: Unix seconds, or ISO 8601 with UTC unless it says otherwise."""
    return _time(name, text)


def _whole(name: str, text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 20 and int(text) <= MOST_INTEGER):  # noqa: PLR2004
        raise FilterError(f"{name}: expected a whole number")
    return int(text)


def _limit(text: str) -> int:
    limit = _whole("limit", text)
    if not 1 <= limit <= MOST_ROWS:
        raise FilterError(f"limit: expected 1 to {MOST_ROWS}")
    return limit


def _flag(name: str, text: str) -> bool:
    if text not in {"true", "false"}:
        raise FilterError(f"{name}: expected true or false")
    return text == "true"


def _sort(text: str) -> str:
    if text not in SORTS:
        raise FilterError(f"sort: expected one of {', '.join(SORTS)}")
    return text


def _before(text: str) -> tuple[float, int]:
    try:
        at_s, n = struct.unpack(">dq", base64.urlsafe_b64decode(text + "=="))
    except (binascii.Error, struct.error, ValueError):
        raise FilterError("cursor: expected what a Link header gave") from None
    if not math.isfinite(at_s):
        raise FilterError("cursor: expected what a Link header gave")
    return at_s, n
