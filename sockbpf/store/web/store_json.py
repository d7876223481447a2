# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`/store.json`: keep what is posted, give it back filtered, delete what is too old."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from sockbpf.settings.fields import DURATIONS, quantity
from sockbpf.store.data.filters import cursor, parse
from sockbpf.store.data.lanes import Lane
from sockbpf.store.data.search import find
from sockbpf.store.data.values import read_time
from sockbpf.store.data.writing import BusyError
from sockbpf.store.web.guard import AUTHORIZED, TRUSTED
from sockbpf.store.web.posted import posted_entries
from sockbpf.store.web.problem import Problem, busy
from sockbpf.store.web.query import link_to_next, parameters
from sockbpf.store.web.table import table_of

if TYPE_CHECKING:
    from starlette.requests import Request

    from sockbpf.store.web.running_store import RunningStore

METHODS = ["GET", "POST", "DELETE"]
DELETING_S = 15.0
"""How long one request may go on deleting."""


async def store_json(store: RunningStore, request: Request) -> Response:
    """Answer a request of any of METHODS: with one route for all of them, a 405 names them all."""
    return await {"POST": _post, "DELETE": _delete}.get(request.method, _search)(store, request)


async def _post(store: RunningStore, request: Request) -> Response:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    async with store.reading_body:  # one at a time: a body that is parsed takes several times its memory
        entries = await asyncio.to_thread(
            posted_entries, body, media_type, is_trusted=bool(request.scope.get(TRUSTED))
        )
    await store.keep(entries, Lane.BULK)
    return JSONResponse({"stored": len(entries)}, 201)


async def _delete(store: RunningStore, request: Request) -> Response:
    if not request.scope[AUTHORIZED]:  # else every user of this host could delete all alerts
        raise Problem(403, "deleting wants a token: set store > token, and send it as Authorization: Bearer")
    pairs = parameters(request.scope)
    by_name = dict(pairs)
    if len(pairs) != 1 or not by_name.keys() <= {"before", "older_than"}:
        raise Problem(422, "expected either before, a time, or older_than, such as 30d")
    try:
        deleted, is_all = await asyncio.to_thread(
            store.upkeep.delete_before, _before(by_name), time.monotonic() + DELETING_S
        )
    except BusyError:
        raise busy() from None
    return JSONResponse({"deleted": deleted} if is_all else {"deleted": deleted, "more": True})


def _before(by_name: dict[str, str]) -> float:
    """Return the Unix time before which entries are to be deleted; raise Problem."""
    if "before" in by_name:
        return read_time("before", by_name["before"])
    seconds = quantity(by_name["older_than"], DURATIONS)
    if seconds is None or seconds < 0:
        raise Problem(422, "older_than: expected a duration such as 30d")
    return time.time() - float(seconds)


async def _search(store: RunningStore, request: Request) -> Response:
    pairs = parameters(request.scope)
    filters = parse(pairs)
    rows, has_more = await store.search(
        lambda connection: find(connection, filters), is_trusted=bool(request.scope.get(TRUSTED))
    )
    headers = {"Cache-Control": "no-store"}
    if has_more and rows:
        n, at_s, _ = rows[-1]
        headers["Link"] = link_to_next("/store.json", pairs, cursor(at_s, n))
    if "text/csv" in request.headers.get("accept", ""):
        table = await asyncio.to_thread(table_of, [body for *_, body in rows])
        return Response(table, media_type="text/csv", headers=headers)
    text = "[" + ",\n".join(body for *_, body in rows) + "]"
    return Response(text, media_type="application/json", headers=headers)
