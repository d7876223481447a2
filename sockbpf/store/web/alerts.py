# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The routes of alerts: `/alert` and `/alerts` keep them, `/episodes` says what became of them, `/stream` sends."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import TYPE_CHECKING

from starlette.datastructures import Headers
from starlette.responses import JSONResponse, Response, StreamingResponse

from sockbpf.store.data.entry import alert_entry
from sockbpf.store.data.episode_order import cursor_behind
from sockbpf.store.data.episode_search import find_page
from sockbpf.store.data.filters import parse
from sockbpf.store.data.lanes import Lane
from sockbpf.store.web.guard import PEER, TRUSTED
from sockbpf.store.web.posted_alerts import batch_of, encoding_of
from sockbpf.store.web.problem import Problem, full
from sockbpf.store.web.query import link_to_next, parameters

if TYPE_CHECKING:
    from starlette.requests import Request
    from starlette.types import Receive, Scope, Send

    from sockbpf.store.web.running_store import RunningStore


class AlertRoute:
    """`GET /alert`, in bare ASGI without Starlette's request and response: thousands of alerts come in a second."""

    NEW, KNOWN = b'{"new":true}', b'{"new":false}'
    HEADERS = ((b"content-type", b"application/json"),)

    def __init__(self, store: RunningStore) -> None:
        self._store = store

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            raise Problem(405, "expected GET", allow="GET")
        is_trusted = bool(scope.get(TRUSTED))
        entry = alert_entry(dict(parameters(scope)), is_trusted=is_trusted)
        (is_new,) = await self._store.keep([entry], Lane.OURS if is_trusted else Lane.ANYBODY)
        body = self.NEW if is_new else self.KNOWN
        headers = [*self.HEADERS, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def post_alerts(store: RunningStore, request: Request) -> Response:
    """Answer `POST /alerts`, once what is not refused is on disk.

    While too many alerts wait to be written none more are read.
    """
    is_trusted = bool(request.scope.get(TRUSTED))
    lane = Lane.OURS if is_trusted else Lane.ANYBODY
    if store.writer.is_behind(lane):
        raise full()
    encoding = encoding_of(request)
    body = await request.body()
    async with store.reading_alerts[is_trusted]:  # one at a time: what waits here is compressed still
        if store.writer.is_behind(lane):
            raise full()
        reader = store.reader.batch_of if store.reader and is_trusted else batch_of
        read = partial(reader, body, encoding, is_trusted=is_trusted)
        batch = await asyncio.get_running_loop().run_in_executor(store.readers_of_alerts, read)
    new = sum(await store.keep(batch.entries, lane)) if batch.entries else 0
    store.refused_rows += len(batch.refused)  # now: a batch that was not kept comes again
    refused = [{"row": row, "why": why} for row, why in batch.refused]
    return JSONResponse({"new": new, "known": len(batch.entries) - new, "refused": refused})


class StreamRoute:
    """`GET /stream`: takes one of the feed's places for as long as it lasts."""

    def __init__(self, store: RunningStore) -> None:
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            raise Problem(405, "expected GET", allow="GET")
        given = Headers(scope=scope).get("last-event-id", "")
        after = int(given) if given.isascii() and given.isdecimal() and len(given) < 19 else None  # noqa: PLR2004
        feed = self._store.feed
        assert feed is not None  # noqa: S101  it is made before the server takes requests
        with feed.seat(scope[PEER], is_trusted=bool(scope.get(TRUSTED))):
            events = feed.events(await feed.last(after))
            headers = {"Cache-Control": "no-store"}
            await StreamingResponse(events, media_type="text/event-stream", headers=headers)(
                scope, receive, send
            )


async def episodes(store: RunningStore, request: Request) -> Response:
    """Answer `GET /episodes`."""
    pairs = parameters(request.scope)
    filters = parse(pairs, episodes=True)
    rows, end = await store.search(
        lambda connection: find_page(connection, filters), is_trusted=bool(request.scope.get(TRUSTED))
    )
    headers = {"Cache-Control": "no-store"}
    if end is not None:
        headers["Link"] = link_to_next("/episodes", pairs, cursor_behind(end))
    return JSONResponse(rows, headers=headers)
