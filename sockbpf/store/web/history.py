# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""`POST /history` keeps samples of the queues of services, `GET /history` says what these were."""

from __future__ import annotations

import asyncio
import json
import time
from functools import partial
from typing import TYPE_CHECKING

from starlette.responses import JSONResponse, Response

from sockbpf.record.history import PROTOCOLS, TYPES, Series
from sockbpf.store.data.history import Asked, window_of
from sockbpf.store.data.history_find import find_history
from sockbpf.store.data.values import EntryError, read_time, searchable
from sockbpf.store.data.writing import BusyError
from sockbpf.store.web.guard import TRUSTED
from sockbpf.store.web.posted_alerts import encoding_of
from sockbpf.store.web.posted_history import told_by
from sockbpf.store.web.problem import Problem, busy
from sockbpf.store.web.query import given_once, number, parameters

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection
    from starlette.requests import Request

    from sockbpf.store.web.running_store import RunningStore

LONG_S = 3600.0
"""The window, if its beginning is not said."""
LATEST_S = 2.0**32
TOP, MOST_TOP = 5, 20
LIMIT, MOST_LIMIT = 100, 5000


async def history(store: RunningStore, request: Request) -> Response:
    """Answer `GET /history` and `POST /history`."""
    if request.method == "POST":
        return await _keep(store, request)
    asked = asked_by(parameters(request.scope), time.time())

    def made(connection: Connection) -> bytes:
        return json.dumps(find_history(connection, asked), separators=(",", ":")).encode()

    body = await store.search(made, is_trusted=bool(request.scope.get(TRUSTED)))
    return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})


async def _keep(store: RunningStore, request: Request) -> Response:
    """Keep samples, and answer once they are on disk."""
    if not request.scope.get(TRUSTED):  # its rows are as many as who sends them likes
        raise Problem(403, "only the monitor's user, or who knows the token, may send samples")
    keep_s = store.history.keep_s
    if not keep_s:
        raise Problem(403, "this store keeps no history: history > keep is 0s in its settings")
    encoding = encoding_of(request)
    body = await request.body()
    async with store.keeping_history:  # one at a time: what waits here is compressed still
        read = partial(told_by, body, encoding, time.time(), keep_s)
        told = await asyncio.get_running_loop().run_in_executor(store.readers_of_alerts, read)
        try:
            for written in store.history.keep(told.samples):
                await asyncio.wrap_future(written)
        except BusyError:
            raise busy() from None
    store.refused_rows += len(told.refused)
    refused = [{"row": row, "why": why} for row, why in told.refused]
    kept = sum(map(len, told.samples.values()))
    return JSONResponse({"samples": kept, "refused": refused, "too_old": told.too_old})


def asked_by(pairs: list[tuple[str, str]], now_s: float) -> Asked:
    """Return what these parameters ask for; raise EntryError."""
    given = given_once(pairs, {*Series._fields, "from", "to", "top", "limit"})
    names = series_names(given)
    to_s = min(read_time("to", given["to"]) if "to" in given else now_s, LATEST_S)
    from_s = read_time("from", given["from"]) if "from" in given else to_s - LONG_S
    return Asked(
        window_of(min(max(from_s, 0.0), LATEST_S), max(to_s, 0.0)),
        top=number("top", given, TOP, 0, MOST_TOP),
        limit=number("limit", given, LIMIT, 0, MOST_LIMIT),
        **names,
    )


def series_names(given: Mapping[str, str]) -> dict[str, str]:
    """Return the names of a series that are given; raise EntryError."""
    names = {name: searchable(given[name]) for name in Series._fields if name in given}
    if not all(names.values()):
        raise EntryError("host, service, protocol, type: expected a value")
    for name, choices in (("protocol", PROTOCOLS), ("type", TYPES)):
        if names.get(name, choices[0]) not in choices:
            raise EntryError(f"{name}: expected {' or '.join(choices)}")
    return names
