# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What the routes of a running store use together: its writer, its searches, its feed, its upkeep."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from sqlalchemy import func, select
from sqlalchemy.exc import SQLAlchemyError

from sockbpf.store.data.clickhouse_retention import ClickHouseUpkeep
from sockbpf.store.data.clickhouse_rows import settled
from sockbpf.store.data.engine import bound
from sockbpf.store.data.faults import described, is_damage
from sockbpf.store.data.history_keep import HistoryKeeper
from sockbpf.store.data.known_rows import KnownRows
from sockbpf.store.data.now import find_now
from sockbpf.store.data.repair import repair
from sockbpf.store.data.retention import Upkeep
from sockbpf.store.data.schema import ENTRY
from sockbpf.store.data.search import AlteredError, since
from sockbpf.store.data.writing import BusyError, FullError, Writer
from sockbpf.store.web.feed import Feed
from sockbpf.store.web.problem import Problem, busy, full

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

    from sockbpf.store.data.database import Database
    from sockbpf.store.data.entry import Entry
    from sockbpf.store.data.lanes import Lane
    from sockbpf.store.web.crowd import Crowd
    from sockbpf.store.web.reader import Reader

log = logging.getLogger(__name__)

MOST_TRIES = 9
"""How often one search is done at most: it is done again after it has found rows that were altered."""
SEARCH_S = 10.0
"""How long one search may take."""
WARM_S = 2.0
"""How long the start may wait for what is read beforehand."""
TOO_LONG = ("interrupted", "statement timeout", "TIMEOUT_EXCEEDED")
"""What SQLite, PostgreSQL and ClickHouse say then."""
SEARCHES, TRUSTED_SEARCHES = 4, 2
"""Searches at the same time of clients that are not trusted, and of those that are; further ones wait."""


@dataclass
class Line:
    """Clients of whom one at a time has something; the next one not before `free_s`, monotonic."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    free_s: float = 0.0


class RunningStore:
    """One for the whole process; `start`, `end_streams` and `stop` are called by the server."""

    def __init__(self, database: Database, crowd: Crowd, *, keep_s: float, history_s: float) -> None:
        self.database = database
        self.crowd = crowd
        self.feed: Feed | None = None
        self.writer = Writer(database, self._kick)
        upkeep = ClickHouseUpkeep if database.is_clickhouse else Upkeep
        self.history = HistoryKeeper(self.writer, history_s, is_clickhouse=database.is_clickhouse)
        self.upkeep = upkeep(database, self.writer, self.history, keep_s)
        self.known = KnownRows()
        self.altered = 0
        """Rows that were not as they were written, and were deleted."""
        self.reading_body = asyncio.Lock()
        self.reading_alerts = {False: asyncio.Lock(), True: asyncio.Lock()}
        """Held while a body of alerts is read, of clients that are not trusted or of those that are."""
        self.keeping_history = asyncio.Lock()
        """Held while samples are read and written."""
        self.kept_s = min((each for each in (keep_s, history_s) if each), default=math.inf)
        """Of so long ago both alerts and samples are kept."""
        self.advising = {False: Line(), True: Line()}
        """Of those for whom advice is made: clients that are not trusted, and those that are."""
        self.readers_of_alerts = ThreadPoolExecutor(len(self.reading_alerts) + 1, "batches")
        """The threads that do it, and read samples: for those of asyncio anybody's long answers may be waiting."""
        self.reader: Reader | None = None
        """The process that reads those of clients that are trusted, where there is one."""
        self.refused_rows = 0
        """Alerts of such bodies that were refused, because they make no sense."""
        self._places = {False: asyncio.Semaphore(SEARCHES), True: asyncio.Semaphore(TRUSTED_SEARCHES)}
        self._threads = ThreadPoolExecutor(SEARCHES + TRUSTED_SEARCHES, "search")

    def _kick(self) -> None:
        if self.feed:
            self.feed.kick()

    def warm(self) -> None:
        """Read what is over now, as `GET /now` does: who asks first after a start waits no longer than others.

        It is given up after WARM_S; what is wrong with the database is said to whoever asks.
        """
        try:
            with self.database.reader() as connection:
                bound(connection, WARM_S)
                find_now(connection, self.known, time.time(), 1)
        except Exception as error:  # noqa: BLE001  a row may be damaged in any way
            log.info("what is over now was not read beforehand: %s", type(error).__name__)

    def start(self) -> None:
        """Begin to write, to stream and to delete what is too old; called in the event loop."""
        self.feed = Feed(self._since, self._newest, shared=self.database.is_shared)
        self.writer.start()
        self.upkeep.start()

    def end_streams(self) -> None:
        """Have all streams end; called in the event loop."""
        if self.feed:
            self.feed.end()

    def stop(self) -> None:
        """End the writer once it has written all that waits."""
        self.upkeep.stop()
        self.writer.close()

    async def keep(self, entries: list[Entry], lane: Lane) -> list[bool]:
        """Return, once the entries are on disk, for each whether it was new; raise Problem."""
        try:
            return await asyncio.wrap_future(self.writer.keep(entries, lane))
        except FullError:
            raise full() from None
        except BusyError:
            raise busy() from None

    async def search(self, query: Callable[[Connection], Any], *, is_trusted: bool) -> Any:
        """Return the result of a query, in a thread of its own; raise Problem."""
        async with self._places[is_trusted]:
            return await asyncio.get_running_loop().run_in_executor(self._threads, self._search, query)

    async def compute(self, work: Callable[[], Any]) -> Any:
        """Return the result of what takes long and asks no database, in a thread of its own."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)

    def _search(self, query: Callable[[Connection], Any]) -> Any:
        for _ in range(MOST_TRIES):
            generation = self.database.generation
            try:
                with self.database.reader() as connection:
                    bound(connection, SEARCH_S)
                    return query(connection)
            except AlteredError as error:
                self._delete_altered(error)
            except (SQLAlchemyError, UnicodeDecodeError) as error:
                if generation != self.database.generation:
                    continue  # the error is of a file that has been replaced since
                if any(sign in str(error) for sign in TOO_LONG):
                    raise Problem(503, "this search took too long: narrow it down by time") from None
                if is_damage(error, certain=True):
                    self.writer.report(error, generation)
                raise Problem(503, described(error), retry_after="1") from None
        raise busy()

    def _delete_altered(self, altered: AlteredError) -> None:
        """Delete rows that are not as they were written: no client is shown them."""
        log.error("%d rows of %s are not as they were written: deleted", altered.count, altered.table.name)
        self.altered += altered.count
        with suppress(BusyError):
            self.writer.call(lambda connection: repair(connection, altered.table, altered.which)).result()

    def _since(self, n: int, limit: int) -> list[tuple[int, float, str]]:
        return self._search(lambda connection: since(connection, n, limit))  # type: ignore[no-any-return]

    def _newest(self) -> int:
        if self.database.is_clickhouse:
            return settled()
        return self._search(lambda connection: connection.execute(select(func.max(ENTRY.c.n))).scalar()) or 0
