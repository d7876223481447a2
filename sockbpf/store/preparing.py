# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What is answered while the database is made ready: one of an older edition, with many alerts, takes minutes."""

from __future__ import annotations

import asyncio
import math
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

from sockbpf.errors import SockbpfError
from sockbpf.process.life import start_thread
from sockbpf.store.web.problem import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Collection

    from starlette.types import ASGIApp, Receive, Scope, Send

    from sockbpf.process.life import Pulse

SOON_S = 1.0
"""Clients wait for a database that is ready within this time, as nearly every one is, without an answer."""


def not_ready() -> Problem:
    """Return what is answered meanwhile: a new one, since a traceback holds what was sent."""
    return Problem(503, "the database is being brought to this store's edition, or checked", retry_after="2")


class Preparing:
    """Makes the database ready in a thread; what has to wait for that is not asked before.

    `ready` is called in the event loop afterwards, `failed` if the database is of no use: `fault` then says why.
    `stop`, which may take a while, ends what `ready` began.
    """

    def __init__(
        self,
        prepare: Callable[[], None],
        ready: Callable[[], None],
        failed: Callable[[], None],
        stop: Callable[[], None],
    ) -> None:
        self._prepare, self._ready, self._failed, self._stop = prepare, ready, failed, stop
        self.is_ready = False
        self.fault: BaseException | None = None

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Give the time in which requests are answered: it begins when the database is ready, or after SOON_S."""
        await self._begin()
        yield
        if self.is_ready:
            await asyncio.to_thread(self._stop)

    async def _begin(self) -> None:
        loop, ended = asyncio.get_running_loop(), asyncio.Event()

        def run(_: Pulse) -> None:
            fault: BaseException | None = None
            try:
                self._prepare()
            except BaseException as error:  # noqa: BLE001  it is raised again where the process ends
                fault = error
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(self._end, fault, ended)

        try:
            # A store that is to end does not wait for the thread: what is not committed is rolled back.
            start_thread("prepare", run, limit_s=math.inf)
        except SockbpfError as error:
            self._end(error, ended)
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(ended.wait(), SOON_S)

    def _end(self, fault: BaseException | None, ended: asyncio.Event) -> None:
        try:
            if fault is None:
                self._ready()
                self.is_ready = True
        except BaseException as error:  # noqa: BLE001  likewise
            fault = error
        if fault is not None:
            self.fault = fault
            self._failed()
        ended.set()

    def before(self, app: ASGIApp, open_paths: Collection[str]) -> ASGIApp:
        """Return ASGI in front of an application that needs the database, but on its open paths."""

        async def waiting(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http" and not self.is_ready and scope["path"] not in open_paths:
                raise not_ready()
            await app(scope, receive, send)

        return waiting
