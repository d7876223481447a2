# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`/now`, what is wrong at this moment, and `/hosts`, what is known of each host."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from starlette.responses import Response

from sockbpf.store.data.answers import answer_of
from sockbpf.store.data.filters import ROWS
from sockbpf.store.data.host_filters import cursor_behind, read_hosts, read_limit
from sockbpf.store.data.hosts_now import find_hosts
from sockbpf.store.data.now import find_now
from sockbpf.store.data.values import EntryError, searchable
from sockbpf.store.web.guard import TRUSTED
from sockbpf.store.web.query import given_once, link_to_next, parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sqlalchemy import Connection
    from starlette.requests import Request

    from sockbpf.store.web.running_store import RunningStore

FRESH = {"Cache-Control": "no-store"}


async def now(store: RunningStore, request: Request) -> Response:
    """Answer `GET /now`."""
    given = _given(request, {"limit", "host", "open"})
    limit, host = read_limit(given.get("limit", str(ROWS))), searchable(given.get("host", ""))
    if given.get("open", "true") != "true":
        raise EntryError("open: expected true")
    has_open = "open" in given

    def find(connection: Connection) -> tuple[object, str]:
        return find_now(connection, store.known, time.time(), limit, host=host, with_open=has_open), ""

    return await _answer(store, request, find)


async def hosts(store: RunningStore, request: Request) -> Response:
    """Answer `GET /hosts`."""
    pairs = parameters(request.scope)
    wanted = read_hosts(pairs)

    def find(connection: Connection) -> tuple[object, str]:
        answer, end = find_hosts(connection, store.known, time.time(), wanted)
        return answer, link_to_next("/hosts", pairs, cursor_behind(end)) if end else ""

    return await _answer(store, request, find)


async def _answer(
    store: RunningStore, request: Request, find: Callable[[Connection], tuple[object, str]]
) -> Response:
    """Answer with what is found, and the link to what follows; JSON is made in the thread of the search."""

    def made(connection: Connection) -> tuple[bytes, str]:
        found, link = find(connection)
        return json.dumps(found, allow_nan=False).encode(), link

    question = (request.url.path, *sorted(parameters(request.scope)))
    body, link = await store.search(
        lambda connection: answer_of(connection, question, lambda: made(connection)),
        is_trusted=bool(request.scope.get(TRUSTED)),
    )
    headers = {**FRESH, "Link": link} if link else FRESH
    return Response(body, media_type="application/json", headers=headers)


def _given(request: Request, names: Collection[str]) -> dict[str, str]:
    """Return the parameters of a request; raise EntryError for one that it does not have, or has twice."""
    given = given_once(parameters(request.scope), names)
    for name, value in given.items():
        if not value:
            raise EntryError(f"{name}: expected a value")
    return given
