# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""The streams of new entries: each listener goes on where it left off, and a slow one delays no other."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

from sockbpf.store.web.problem import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    Rows = list[tuple[int, float, str]]

MOST_LISTENERS = 50
SHARE = MOST_LISTENERS // 5
"""Listeners of one peer at most; and as many places are reserved for clients that are trusted."""
PAGE = 500
"""Entries of one read of the database."""
REST_S = 0.01
MOST_REST_S = 0.2
"""From a read that found entries to the next one: `REST_S` for each listener, so that many do not cost too much."""
SHARED_S = 0.5
"""From a read that found none to the next one, where other stores write to the same database."""
ALIVE_S = 15.0
"""After so long without an entry a listener gets a comment, and knows that its stream still stands."""
RETRY = b"retry: 2000\n\n"


class Feed:
    """Used in the event loop that made it; only `kick` may be called from any thread."""

    def __init__(self, since: Callable[[int, int], Rows], newest: Callable[[], int], *, shared: bool) -> None:
        """`since(n, limit)` and `newest()` read the database; `shared` is whether other stores write to it too."""
        self._since = since
        self._newest = newest
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._kicked = asyncio.Event()
        self._ended = False
        self._of_peer: Counter[str] = Counter()
        self.listeners = 0

    def end(self) -> None:
        """End all streams; called in the event loop."""
        self._ended = True
        self._wake()

    def kick(self) -> None:
        """Wake all listeners up: there are new entries."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._kicked.set()
        self._kicked = asyncio.Event()

    @contextmanager
    def seat(self, peer: str, *, is_trusted: bool) -> Iterator[None]:
        """Take one of the listeners' places; raise Problem if there is none, or none for this peer."""
        most = MOST_LISTENERS if is_trusted else MOST_LISTENERS - SHARE
        if self.listeners >= most or self._of_peer[peer] >= SHARE:
            raise Problem(
                503, f"too many listen already: {most} at most, {SHARE} of one peer", retry_after="10"
            )
        self.listeners += 1
        self._of_peer[peer] += 1
        try:
            yield
        finally:
            self.listeners -= 1
            self._of_peer[peer] -= 1
            if not self._of_peer[peer]:
                del self._of_peer[peer]

    async def last(self, after: int | None) -> int:
        """Return the entry after which a stream begins: `after`, or the newest where that is None; raise Problem."""
        newest = await asyncio.to_thread(self._newest)
        # A listener may know a higher number, of a database that was replaced by a new one.
        return newest if after is None else min(after, newest)

    async def events(self, last: int) -> AsyncIterator[bytes]:
        """Yield server-sent events until the feed ends: the entries after `last`, comments while there are none."""
        yield RETRY
        alive_s = self._loop.time() + ALIVE_S
        while not self._ended:
            kicked = self._kicked
            try:
                rows = await asyncio.to_thread(self._since, last, PAGE)
            except Problem:
                return  # the listener connects again, and is then answered why
            if rows:
                yield b"".join(
                    b"id: %d\nevent: alert\ndata: %s\n\n" % (n, body.encode()) for n, _, body in rows
                )
                last = rows[-1][0]
                if len(rows) < PAGE // 2:
                    await asyncio.sleep(min(REST_S * self.listeners, MOST_REST_S))
            elif self._loop.time() >= alive_s:
                yield b": alive\n\n"
            else:
                with suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(kicked.wait(), SHARED_S if self._shared else ALIVE_S)
                continue
            alive_s = self._loop.time() + ALIVE_S
