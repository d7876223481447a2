# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`GET /timeline`: how many alerts there were, how bad, and how long services were over, in buckets of time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from starlette.responses import JSONResponse, Response

from sockbpf.store.data.clickhouse_timeline import find_timeline
from sockbpf.store.data.engine import is_clickhouse
from sockbpf.store.data.filters import parse
from sockbpf.store.data.timeline import Timeline, window_of
from sockbpf.store.data.timeline_find import Asked, from_sums
from sockbpf.store.data.timeline_read import from_rows
from sockbpf.store.data.timeline_rows import Coverage
from sockbpf.store.data.timeline_tables import COARSE
from sockbpf.store.data.values import MOST_SECONDS, EntryError, read_whole, searchable
from sockbpf.store.web.guard import TRUSTED
from sockbpf.store.web.query import parameters

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection
    from starlette.requests import Request

    from sockbpf.store.data.filters import Filter
    from sockbpf.store.data.timeline import Window
    from sockbpf.store.web.running_store import RunningStore

BUCKETS, MOST_BUCKETS = 60, 240
TOP, MOST_TOP = 10, 50
LONG_S = 900.0
"""The window, if its beginning is not said."""
OWN = ("buckets", "service", "top")
NOT_OURS = ("open", "sort", "limit", "cursor", "text")
"""What /episodes has beyond our filters."""
OF_SUMS = frozenset({"host", "type"})
"""The filters by which sums are kept."""


async def timeline(store: RunningStore, request: Request) -> Response:
    """Answer `GET /timeline`."""
    query = query_of(parameters(request.scope), time.time())
    found = await store.search(query, is_trusted=bool(request.scope.get(TRUSTED)))
    return JSONResponse(found.shown(), headers={"Cache-Control": "no-store"})


def query_of(pairs: list[tuple[str, str]], now_s: float) -> Callable[[Connection], Timeline]:
    """Return what finds the timeline that these parameters ask for; raise EntryError."""
    own = _own(pairs)
    filters = parse([pair for pair in pairs if pair[0] not in OWN], episodes=True)
    to_s = min(now_s if filters.to_s is None else filters.to_s, float(MOST_SECONDS))
    from_s = min(max(0.0, to_s - LONG_S if filters.from_s is None else filters.from_s), float(MOST_SECONDS))
    window = window_of(from_s, to_s, own["buckets"])

    def find(connection: Connection) -> Timeline:
        if _is_of_sums(filters, window) and Coverage(connection).is_whole:
            host, type_ = (str(filters.columns.get(name, "")) for name in ("host", "type"))
            asked = Asked(host, own["service"], type_, own["top"])
            return (
                find_timeline(connection, window, asked)
                if is_clickhouse(connection)
                else from_sums(connection, window, asked)
            )
        return from_rows(connection, window, filters, own["service"], own["top"])

    return find


def _own(pairs: list[tuple[str, str]]) -> dict[str, Any]:
    given = {name: value for name, value in pairs if name in (*OWN, *NOT_OURS)}
    if len(given) < sum(name in (*OWN, *NOT_OURS) for name, _ in pairs):
        raise EntryError("buckets, service, top: expected once")
    if unknown := [name for name in NOT_OURS if name in given]:
        raise EntryError(f"{unknown[0]}: a timeline has no such parameter")
    return {
        "buckets": _number("buckets", given.get("buckets"), BUCKETS, 1, MOST_BUCKETS),
        "top": _number("top", given.get("top"), TOP, 0, MOST_TOP),
        "service": searchable(given.get("service", "")),
    }


def _number(name: str, given: str | None, default: int, least: int, most: int) -> int:
    number = default if given is None else read_whole(name, given)
    if not least <= number <= most:
        raise EntryError(f"{name}: expected {least} to {most}")
    return number


def _is_of_sums(filters: Filter, window: Window) -> bool:
    """Whether the timeline of these filters is kept as sums. An empty host is none: it would be all."""
    is_plain = filters.min_size is None and not filters.ends and filters.columns.keys() <= OF_SUMS
    is_kept = window.step_s in COARSE or "host" not in filters.columns
    return is_plain and is_kept and filters.columns.get("host") != ""
