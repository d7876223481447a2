# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The routes: what can be asked of the store, and what it answers."""

from __future__ import annotations

import asyncio
import json
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError
from starlette.applications import Starlette
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from sockbpf.settings.fields import DURATIONS, quantity
from sockbpf.store.data.engine import bound
from sockbpf.store.data.entry import Entry, alert_entry, posted_entry
from sockbpf.store.data.faults import described, is_damage
from sockbpf.store.data.filters import cursor, parse
from sockbpf.store.data.lanes import Lane
from sockbpf.store.data.posted_text import text_entries
from sockbpf.store.data.probe import probe
from sockbpf.store.data.retention import Upkeep, delete_before
from sockbpf.store.data.schema import ENTRY
from sockbpf.store.data.search import AlteredError, find, find_episodes, read_something, since
from sockbpf.store.data.values import EntryError, read_time
from sockbpf.store.data.writing import Broken, BusyError, Writer
from sockbpf.store.web.description import document
from sockbpf.store.web.feed import Feed
from sockbpf.store.web.guard import AUTHORIZED, PEER, TRUSTED, UNEXPECTED, Problem, problem
from sockbpf.store.web.page_files import page_routes
from sockbpf.store.web.table import table_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from sqlalchemy import Connection
    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

    from sockbpf.store.data.database import Database
    from sockbpf.store.web.crowd import Crowd
    from sockbpf.store.web.metrics import StoreMetrics

log = logging.getLogger(__name__)

OPEN_PATHS = ("/healthz",)
MOST_PARAMETERS = 64
MOST_ENTRIES = 10_000
"""Entries of one request."""
TEXTS = ("text/plain", "text/csv")
"""What is never looked at as JSON."""
DELETING_S = 15.0
"""How long one request may go on deleting."""
HEALTHY_S = 5.0
"""How long a write may take of a store that is well."""
HEALTH_S = 1.0
"""From one trial of it to the next."""
MOST_LOOKS = 9
"""Of one search, which begins again where it has found rows that are altered."""
LOOK_S = 10.0
"""How long one search may take."""
LOOKERS, OUR_LOOKERS = 4, 2
"""Searches at once, of anybody and of who is trusted; further ones wait."""
BUSY = Problem(503, "the database is busy or away", retry_after="1")


class Shared:
    """What the routes share."""

    def __init__(
        self, database: Database, crowd: Crowd, *, keep_s: float, metrics: Callable[[Shared], StoreMetrics]
    ) -> None:
        self.database = database
        self.crowd = crowd
        self.feed: Feed | None = None
        self.writer = Writer(database, self._kick)
        self.upkeep = Upkeep(database, self.writer, keep_s)
        self.altered = 0
        self.health = Health(self)
        self._lookers = {False: asyncio.Semaphore(LOOKERS), True: asyncio.Semaphore(OUR_LOOKERS)}
        self._threads = ThreadPoolExecutor(LOOKERS + OUR_LOOKERS, "look")
        self.reading_body = asyncio.Lock()
        self.metrics = metrics(self)

    def _kick(self) -> None:
        if self.feed:
            self.feed.kick()

    def start(self) -> None:
        """Begin; in the event loop."""
        self.feed = Feed(self._since, self._newest, shared=self.database.is_shared)
        self.writer.start()
        self.upkeep.start()

    def let_go(self) -> None:
        """Have the streams end; in the event loop."""
        if self.feed:
            self.feed.end()

    def stop(self) -> None:
        self.upkeep.stop()
        self.writer.close()

    async def keep(self, entries: list[Entry], lane: Lane) -> list[bool]:
        """Return of each whether it was new, once it is on disk."""
        try:
            return await asyncio.wrap_future(self.writer.keep(entries, lane))
        except BusyError:
            raise BUSY from None

    async def look(self, what: Callable[[Connection], Any], *, is_trusted: bool) -> Any:
        """Return what a search finds."""
        async with self._lookers[is_trusted]:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._look, what)

    def _look(self, what: Callable[[Connection], Any]) -> Any:
        for _ in range(MOST_LOOKS):
            generation = self.database.generation
            try:
                with self.database.reader() as connection:
                    bound(connection, LOOK_S)
                    return what(connection)
            except AlteredError as error:
                self._remove(error)
            except (SQLAlchemyError, UnicodeDecodeError) as error:
                if generation != self.database.generation:
                    continue  # of a file that has been replaced meanwhile
                if "interrupted" in str(error) or "statement timeout" in str(error):
                    raise Problem(503, "this search took too long: narrow it down by time") from None
                if is_damage(error, certain=True):
                    self.writer.report(error, generation)
                raise Problem(503, described(error), retry_after="1") from None
        raise BUSY

    def _remove(self, altered: AlteredError) -> None:
        """Delete rows that are not as they were written: nobody is shown them."""
        log.error("%d rows of %s are not as they were written: deleted", altered.count, altered.table.name)
        self.altered += altered.count
        with suppress(BusyError):
            self.writer.call(
                lambda connection: connection.execute(altered.table.delete().where(altered.which)) and None
            ).result()

    def _since(self, n: int, limit: int) -> list[tuple[int, float, str]]:
        return self._look(lambda connection: since(connection, n, limit))  # type: ignore[no-any-return]

    def _newest(self) -> int:
        return self._look(lambda connection: connection.execute(select(func.max(ENTRY.c.n))).scalar()) or 0


class Health:
    """Whether what an alert needs can be written and read: tried once a second at most, whoever asks how often."""

    def __init__(self, store: Shared) -> None:
        self._store = store
        self._asking = asyncio.Lock()
        self._asked_s = -math.inf
        self._wrong: Broken | None = None

    async def check(self) -> None:
        """Raise Problem where something is wrong; it says what, and since when."""
        async with self._asking:
            is_news = (self._wrong is None) != (self._store.writer.broken is None)
            if is_news or time.monotonic() - self._asked_s > HEALTH_S:
                why = await self._try()
                self._wrong = self._since(why) if why else None
                self._asked_s = time.monotonic()
        if self._wrong:
            since = datetime.fromtimestamp(self._wrong.since_s, timezone.utc).isoformat(timespec="seconds")
            raise Problem(503, f"{self._wrong.why}; since {since}", retry_after="1")

    def _since(self, why: str) -> Broken:
        broken = self._store.writer.broken or Broken(why, time.time())
        return self._wrong or Broken(why, broken.since_s)

    async def _try(self) -> str:
        """Return what is wrong, nothing if all is well."""
        try:
            await asyncio.wait_for(asyncio.wrap_future(self._store.writer.call(probe)), HEALTHY_S)
            await asyncio.wait_for(self._store.look(read_something, is_trusted=True), HEALTHY_S)
        except BusyError:
            return self._store.writer.broken.why if self._store.writer.broken else BUSY.detail
        except asyncio.TimeoutError:
            return "the database takes too long"
        except Problem as problem:
            return problem.detail
        return ""


def make_app(store: Shared) -> ASGIApp:
    """Return the application; the guard goes in front of it."""

    @asynccontextmanager
    async def life(_: Starlette) -> AsyncIterator[None]:
        store.start()
        yield
        await asyncio.to_thread(store.stop)

    app = Starlette(
        lifespan=life,
        routes=[
            Route("/alert", AlertRoute(store)),
            Route("/store.json", partial(_store_json, store), methods=["GET", "POST", "DELETE"]),
            Route("/episodes", partial(_episodes, store)),
            Route("/stream", StreamRoute(store)),
            Route("/healthz", partial(_healthz, store)),
            Route("/metrics", partial(_metrics, store)),
            Route("/openapi.json", _openapi),
            *page_routes(),
        ],
        exception_handlers={
            Problem: _on_problem,
            EntryError: _on_entry_error,
            HTTPException: _on_http_exception,
            ClientDisconnect: _on_disconnect,
            Exception: _on_unexpected,
        },
    )
    app.router.redirect_slashes = False  # it would lead to whatever Host says
    return app


async def _on_problem(_: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)  # noqa: S101  what it is registered for
    headers = {name.replace("_", "-"): value for name, value in error.headers.items()}
    return Response(problem(error.status, error.detail), error.status, headers, "application/problem+json")


async def _on_entry_error(request: Request, error: Exception) -> Response:
    return await _on_problem(request, Problem(422, str(error)))


async def _on_disconnect(request: Request, _: Exception) -> Response:
    return await _on_problem(request, Problem(400, "the body has no end"))  # nobody reads it


async def _on_unexpected(request: Request, _: Exception) -> Response:
    return await _on_problem(request, Problem(500, UNEXPECTED))  # the guard logs it


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101  what it is registered for
    headers = {name.replace("-", "_"): value for name, value in (error.headers or {}).items()}
    return await _on_problem(request, Problem(error.status_code, str(error.detail), **headers))


def _asked(scope: Scope) -> list[tuple[str, str]]:
    query = scope["query_string"]
    try:
        return parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=MOST_PARAMETERS,
        )
    except ValueError:
        raise Problem(400, f"expected at most {MOST_PARAMETERS} parameters, name=value, in UTF-8") from None


class AlertRoute:
    """`GET /alert`: thousands of these come in a second, so nothing stands between them and the writer."""

    NEW, KNOWN = b'{"new":true}', b'{"new":false}'
    HEADERS = ((b"content-type", b"application/json"),)

    def __init__(self, store: Shared) -> None:
        self._store = store

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            raise Problem(405, "expected GET", allow="GET")
        is_trusted = bool(scope.get(TRUSTED))
        entry = replace(alert_entry(dict(_asked(scope))), trusted=is_trusted)
        kept = await self._store.keep([entry], Lane.OURS if is_trusted else Lane.ANYBODY)
        body = self.NEW if kept[0] else self.KNOWN
        headers = [*self.HEADERS, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


async def _store_json(store: Shared, request: Request) -> Response:
    # One route for all of its methods: who comes with another one is told them all.
    return await {"POST": _post, "DELETE": _delete}.get(request.method, _search)(store, request)


async def _post(store: Shared, request: Request) -> Response:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    body = await request.body()
    async with store.reading_body:  # one at a time: what is read takes a multiple of the memory
        is_trusted = bool(request.scope.get(TRUSTED))
        entries = await asyncio.to_thread(_posted, body, kind, is_trusted)
    await store.keep(entries, Lane.BULK)
    return JSONResponse({"stored": len(entries)}, 201)


def _posted(body: bytes, kind: str, is_trusted: bool) -> list[Entry]:
    now_s = time.time()
    return [replace(posted_entry(value, now_s), trusted=is_trusted) for value in _values(body, kind)]


async def _delete(store: Shared, request: Request) -> Response:
    if not request.scope[AUTHORIZED]:  # else everybody on this host could have all of it forgotten
        raise Problem(403, "deleting wants a token: set store > token, and send it as Authorization: Bearer")
    given = _asked(request.scope)
    asked = dict(given)
    if len(given) != 1 or not asked.keys() <= {"before", "older_than"}:
        raise Problem(422, "expected either before, a time, or older_than, such as 30d")
    try:
        deleted, is_all = await asyncio.to_thread(
            delete_before, store.writer, _before(asked), time.monotonic() + DELETING_S
        )
    except BusyError:
        raise BUSY from None
    return JSONResponse({"deleted": deleted} if is_all else {"deleted": deleted, "more": True})


async def _search(store: Shared, request: Request) -> Response:
    asked = _asked(request.scope)
    wanted = parse(asked)
    rows, has_more = await store.look(
        lambda connection: find(connection, wanted), is_trusted=bool(request.scope.get(TRUSTED))
    )
    headers = {"Cache-Control": "no-store"}
    if has_more and rows:
        n, at_s, _ = rows[-1]
        query = urlencode([pair for pair in asked if pair[0] != "cursor"] + [("cursor", cursor(at_s, n))])
        headers["Link"] = f'</store.json?{query}>; rel="next"'
    if "text/csv" in request.headers.get("accept", ""):
        table = await asyncio.to_thread(table_of, [body for *_, body in rows])
        return Response(table, media_type="text/csv", headers=headers)
    text = "[" + ",\n".join(body for *_, body in rows) + "]"
    return Response(text, media_type="application/json", headers=headers)


async def _episodes(store: Shared, request: Request) -> Response:
    wanted = parse(_asked(request.scope), episodes=True)
    rows = await store.look(
        lambda connection: find_episodes(connection, wanted), is_trusted=bool(request.scope.get(TRUSTED))
    )
    return JSONResponse(rows, headers={"Cache-Control": "no-store"})


class StreamRoute:
    """`GET /stream`: takes a place of the feed for as long as it lasts."""

    def __init__(self, store: Shared) -> None:
        self._store = store

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] != "GET":
            raise Problem(405, "expected GET", allow="GET")
        given = Headers(scope=scope).get("last-event-id", "")
        after = int(given) if given.isascii() and given.isdecimal() and len(given) < 19 else None  # noqa: PLR2004
        feed = self._store.feed
        assert feed is not None  # noqa: S101  it is there once the loop runs
        with feed.seat(scope[PEER], is_trusted=bool(scope.get(TRUSTED))):
            events = feed.events(await feed.last(after))
            headers = {"Cache-Control": "no-store"}
            await StreamingResponse(events, media_type="text/event-stream", headers=headers)(
                scope, receive, send
            )


async def _healthz(store: Shared, _: Request) -> Response:
    await store.health.check()
    return JSONResponse({"status": "ok"})


async def _metrics(store: Shared, _: Request) -> Response:
    registry = CollectorRegistry()
    registry.register(store.metrics)
    return Response(generate_latest(registry), headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _openapi(_: Request) -> Response:
    return JSONResponse(document())


def _before(asked: dict[str, str]) -> float:
    if "before" in asked:
        return read_time("before", asked["before"])
    seconds = quantity(asked["older_than"], DURATIONS)
    if seconds is None or seconds < 0:
        raise Problem(422, "older_than: expected a duration such as 30d")
    return time.time() - float(seconds)


def _values(body: bytes, kind: str) -> list[dict[str, Any]]:
    """Return the objects of a body: JSON as it is, everything else as text."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError:
        if kind == "application/json":
            raise Problem(400, "expected UTF-8") from None
        text = body.decode("latin-1")  # every byte is kept
    is_json = kind == "application/json" or (kind not in TEXTS and text.lstrip()[:1] in {"{", "["})
    if is_json:
        try:
            value = json.loads(text, parse_constant=_refuse, object_pairs_hook=_object)
        except (ValueError, RecursionError):
            if kind == "application/json":
                raise Problem(400, "expected JSON, with different names in each object") from None
            value = None
        values = value if isinstance(value, list) else [value]
        if not all(isinstance(each, dict) for each in values):
            if kind == "application/json":
                raise Problem(422, "expected an object, or an array of objects")
            values = text_entries(text)
    else:
        values = text_entries(text) if text else []
    if not 0 < len(values) <= MOST_ENTRIES:
        raise Problem(422, f"expected 1 to {MOST_ENTRIES} objects")
    return values


def _refuse(_: str) -> None:
    raise ValueError  # NaN and Infinity: not JSON, whatever Python thinks


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError  # one of two values under the same name would be lost
    return made
