# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`/now`, what is wrong at this moment, and `/hosts`, what is known of each host."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

from starlette.responses import Response

from sockbpf.store.data.answers import answer_of
from sockbpf.store.data.filters import MOST_ROWS, ROWS
from sockbpf.store.data.hosts_now import find_hosts
from sockbpf.store.data.now import find_now
from sockbpf.store.data.states import STATES_OF_HOST
from sockbpf.store.data.values import EntryError, read_whole, searchable
from sockbpf.store.web.guard import TRUSTED
from sockbpf.store.web.query import parameters

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from sqlalchemy import Connection
    from starlette.requests import Request

    from sockbpf.store.web.running_store import RunningStore

FRESH = {"Cache-Control": "no-store"}


async def now(store: RunningStore, request: Request) -> Response:
    """Answer `GET /now`."""
    given = _given(request, {"limit", "host", "open"})
    limit, host = _limit(given), searchable(given.get("host", ""))
    if given.get("open", "true") != "true":
        raise EntryError("open: expected true")
    has_open = "open" in given
    return await _answer(
        store,
        request,
        given,
        lambda connection: find_now(
            connection, store.known, time.time(), limit, host=host, with_open=has_open
        ),
    )


async def hosts(store: RunningStore, request: Request) -> Response:
    """Answer `GET /hosts`."""
    given = _given(request, {"limit", "host", "state"})
    limit, host, state = _limit(given), searchable(given.get("host", "")), given.get("state", "")
    if state and state not in STATES_OF_HOST:
        raise EntryError(f"state: expected one of {', '.join(STATES_OF_HOST)}")
    return await _answer(
        store,
        request,
        given,
        lambda connection: find_hosts(connection, store.known, time.time(), limit, host=host, state=state),
    )


async def _answer(
    store: RunningStore, request: Request, given: dict[str, str], find: Callable[[Connection], object]
) -> Response:
    """Answer with what is found, as JSON; it is made in the thread of the search, since it may be large."""
    question = (request.url.path, *sorted(given.items()))
    body = await store.search(
        lambda connection: answer_of(
            connection, question, lambda: json.dumps(find(connection), allow_nan=False).encode()
        ),
        is_trusted=bool(request.scope.get(TRUSTED)),
    )
    return Response(body, media_type="application/json", headers=FRESH)


def _given(request: Request, names: Collection[str]) -> dict[str, str]:
    """Return the parameters of a request; raise EntryError for one that it does not have, or has twice."""
    pairs = parameters(request.scope)
    given = dict(pairs)
    if len(given) < len(pairs) or not given.keys() <= set(names):
        raise EntryError(f"expected only {', '.join(sorted(names))}, each once")
    for name, value in given.items():
        if not value:
            raise EntryError(f"{name}: expected a value")
    return given


def _limit(given: dict[str, str]) -> int:
    limit = read_whole("limit", given["limit"]) if "limit" in given else ROWS
    if not 1 <= limit <= MOST_ROWS:
        raise EntryError(f"limit: expected 1 to {MOST_ROWS}")
    return limit
