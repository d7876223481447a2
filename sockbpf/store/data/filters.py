# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What a request asks for: its parameters read and checked, before any database is asked. Pure."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import math
import struct
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from sockbpf.record.fields import Kind
from sockbpf.store.data.entry import (
    CHOICES,
    COLUMNS,
    MOST_INTEGER,
    EntryError,
    packed_ip,
    searchable,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MOST_ROWS = 1000
ROWS = 100
MOST_FILTERS = 32
EITHER_END = ("ip", "port", "cidr")
BOUNDS = ("from", "to", "limit", "cursor")
SORTS = ("start", "peak", "last", "size")
"""Columns of an episode."""


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
    plain = _plain(given)
    known = {*BOUNDS, *EITHER_END, *COLUMNS, *own, "min_size"}
    pairs = tuple((n, v) for n, v in given.items() if n not in known)
    if episodes:
        if pairs or "event" in plain or "cursor" in given:
            raise FilterError("episodes are not found by event, nor by key=value, nor by a cursor")
        for name, choices in CHOICES.items():  # of what was posted they may be anything
            if given.get(name, choices[0]) not in choices:
                raise FilterError(f"{name}: expected one of {', '.join(choices)}")
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


def _plain(given: Mapping[str, str]) -> dict[str, object]:
    return {name: AS_FILTER[kind](name, given[name]) for name, kind in COLUMNS.items() if name in given}


def _text(_: str, text: str) -> str:
    return searchable(text)


def _address(name: str, text: str) -> bytes:
    packed = packed_ip(text)
    if packed is None:
        raise FilterError(f"{name}: expected an IP address")
    return packed


def _ends(given: Mapping[str, str]) -> dict[str, Any]:
    ends: dict[str, Any] = {}
    if "ip" in given:
        ends["ip"] = _address("ip", given["ip"])
    if "port" in given:
        ends["port"] = _whole("port", given["port"])
    if "cidr" in given:
        try:
            net = ipaddress.ip_network(given["cidr"], strict=False)
        except ValueError:
            raise FilterError("cidr: expected a network such as 192.0.2.0/24") from None
        ends["cidr"] = (packed_ip(str(net[0])), packed_ip(str(net[-1])))
    return ends


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


AS_FILTER: dict[Kind, Callable[[str, str], object]] = {
    Kind.TEXT: _text,
    Kind.WHOLE: _whole,
    Kind.SECONDS: _time,
    Kind.ADDRESS: _address,
}
"""How the value of a filter is read; each raises FilterError."""


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
