# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The filters of a search, read from the parameters of a request and checked. Pure."""

from __future__ import annotations

import base64
import binascii
import ipaddress
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sockbpf.store.data.columns import COLUMNS
from sockbpf.store.data.entry import CHOICES
from sockbpf.store.data.episode_order import SORTS, read_cursor
from sockbpf.store.data.free_words import read_words
from sockbpf.store.data.values import OF_FILTER, EntryError, packed_ip, read_packed, read_time, read_whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from sockbpf.store.data.episode_order import Place

    Reader = Callable[[str, str], object]

MOST_ROWS = 1000
ROWS = 100
"""Rows of a page, if there is no `limit`."""
MOST_FILTERS = 32
EITHER_END = ("ip", "port", "cidr")
"""Filters that either end of a socket may fit."""


@dataclass(frozen=True, slots=True)
class Filter:
    """What is searched for, checked. Times are Unix seconds."""

    from_s: float | None
    to_s: float | None
    limit: int
    before: tuple[float, int] | None
    """Time and number of the last entry on the page before; None for the first page."""
    columns: Mapping[str, object]
    """Name of a field -> the value that its column must have."""
    min_size: int | None
    ends: Mapping[str, Any]
    """Those of EITHER_END that are given; `cidr` is the first and the last address of the network."""
    pairs: tuple[tuple[str, str], ...]
    """Names that are no filters, and the values that an entry must have under them."""
    behind: Place | None = None
    """Of episodes: the place of the last one on the page before."""
    open: bool | None = None
    sort: str = "start"
    words: tuple[str, ...] = ()
    """Of episodes: what stands in their texts, in lower case."""


def parse(parameters: Iterable[tuple[str, str]], *, episodes: bool = False) -> Filter:
    """Read the parameters of a search, for entries or for episodes; raise EntryError."""
    given = _once(parameters)
    further = {**FURTHER, **OF_EPISODES} if episodes else FURTHER
    columns = _read(given, BY_COLUMN)
    pairs = tuple(pair for pair in given.items() if pair[0] not in {**BY_COLUMN, **further})
    if episodes:
        _check_episodes(given, pairs)
    values = _read(given, further)
    return Filter(
        from_s=values.get("from"),
        to_s=values.get("to"),
        limit=values.get("limit", ROWS),
        before=None if episodes else values.get("cursor"),
        behind=values.get("cursor") if episodes else None,
        columns=columns,
        min_size=values.get("min_size"),
        ends={name: values[name] for name in EITHER_END if name in values},
        pairs=pairs,
        open=values.get("open"),
        sort=values.get("sort", "start"),
        words=values.get("text", ()),
    )


def cursor(at_s: float, n: int) -> str:
    """Return the `cursor` that leads to what follows an entry of this time and number."""
    return base64.urlsafe_b64encode(struct.pack(">dq", at_s, n)).decode().rstrip("=")


def _once(parameters: Iterable[tuple[str, str]]) -> dict[str, str]:
    given: dict[str, str] = {}
    for name, value in parameters:
        if name in given:
            raise EntryError(f"{name if name.isidentifier() else 'a filter'}: expected once")
        given[name] = value
    if len(given) > MOST_FILTERS:
        raise EntryError(f"expected at most {MOST_FILTERS} filters")
    return given


def _read(given: Mapping[str, str], readers: Mapping[str, Reader]) -> dict[str, Any]:
    return {name: read(name, given[name]) for name, read in readers.items() if name in given}


def _check_episodes(given: Mapping[str, str], pairs: tuple[tuple[str, str], ...]) -> None:
    if pairs or "event" in given:
        raise EntryError("episodes are not found by event, nor by key=value")
    for name, choices in CHOICES.items():  # entries may have any value: also what was posted has these names
        if given.get(name, choices[0]) not in choices:
            raise EntryError(f"{name}: expected one of {', '.join(choices)}")


def _limit(name: str, text: str) -> int:
    limit = read_whole(name, text)
    if not 1 <= limit <= MOST_ROWS:
        raise EntryError(f"{name}: expected 1 to {MOST_ROWS}")
    return limit


def _place(name: str, text: str) -> tuple[float, int]:
    """Return the time and the number in a cursor."""
    try:
        at_s, n = struct.unpack(">dq", base64.urlsafe_b64decode(text + "=="))
    except (binascii.Error, struct.error, ValueError):
        at_s, n = math.nan, 0
    if not math.isfinite(at_s):
        raise EntryError(f"{name}: expected what a Link header gave")
    return at_s, n


def _network(name: str, text: str) -> tuple[bytes | None, bytes | None]:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        raise EntryError(f"{name}: expected a network such as 192.0.2.0/24") from None
    return packed_ip(str(network[0])), packed_ip(str(network[-1]))


def _flag(name: str, text: str) -> bool:
    if text not in {"true", "false"}:
        raise EntryError(f"{name}: expected true or false")
    return text == "true"


def _sort(name: str, text: str) -> str:
    if text not in SORTS:
        raise EntryError(f"{name}: expected one of {', '.join(SORTS)}")
    return text


BY_COLUMN: dict[str, Reader] = {name: OF_FILTER[kind] for name, kind in COLUMNS.items()}
FURTHER: dict[str, Reader] = {
    "from": read_time,
    "to": read_time,
    "limit": _limit,
    "cursor": _place,
    "min_size": read_whole,
    "ip": read_packed,
    "port": read_whole,
    "cidr": _network,
}
OF_EPISODES: dict[str, Reader] = {"open": _flag, "sort": _sort, "cursor": read_cursor, "text": read_words}
"""Filters of episodes alone, and what only they have in this form."""
