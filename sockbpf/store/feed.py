"""The stream of what comes in, to whoever listens: each from where it left off, none holding up another."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING

from sockbpf.store.guard import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Container

    Rows = list[tuple[int, float, str]]
    Since = Callable[[int, int, Container[int]], Rows]

MOST_LISTENERS = 50
PAGE = 500
"""Entries of one look."""
OVERLAP = 200
"""With several stores an entry may be there only after one with a greater n: so far back is looked again."""
REST_S = 0.2
"""From one look that found something to the next: what many listeners cost stays bounded."""
LOOK_S = 0.5
"""From one look to the next, where others write too."""
ALIVE_S = 15.0
"""From one sign of life to the next while nothing comes."""
RETRY = b"retry: 2000\n\n"


class Feed:
    """For the event loop that made it; `kick` may be called from any thread."""

    def __init__(
        self, since: Callable[[int, int, Container[int]], Rows], newest: Callable[[], int], *, shared: bool
    ) -> None:
        """`since(n, limit, known)` and `newest()` look into the database; `shared`: others write there too."""
        self._since = since
        self._newest = newest
        self._shared = shared
        self._loop = asyncio.get_running_loop()
        self._kicked = asyncio.Event()
        self._ended = False
        self.listeners = 0

    def end(self) -> None:
        """Let all listeners go; in the event loop."""
        self._ended = True
        self._wake()

    def kick(self) -> None:
        """Say that something has come."""
        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(self._wake)

    def _wake(self) -> None:
        self._kicked.set()
        self._kicked = asyncio.Event()

    async def listen(self, after: int | None) -> AsyncIterator[bytes]:
        """Yield server-sent events: what came after an entry, of now on without; raise Problem if too many listen."""
        if self.listeners >= MOST_LISTENERS:
            raise Problem(503, f"{MOST_LISTENERS} listen already", retry_after="10")
        newest = await asyncio.to_thread(self._newest)
        # Of a database that was made anew a listener may know numbers that are still to come.
        return self._events(newest if after is None else min(after, newest))

    async def _events(self, last: int) -> AsyncIterator[bytes]:
        self.listeners += 1
        try:
            yield RETRY
            said: dict[int, None] = {}
            alive_s = self._loop.time() + ALIVE_S
            while not self._ended:
                kicked = self._kicked
                begin = max(0, last - OVERLAP) if self._shared and said else last
                rows = await asyncio.to_thread(self._since, begin, PAGE, said)
                if rows:
                    yield b"".join(
                        b"id: %d\nevent: alert\ndata: %s\n\n" % (n, body.encode()) for n, _, body in rows
                    )
                    last = max(last, rows[-1][0])
                    said |= dict.fromkeys(row[0] for row in rows)
                    while len(said) > OVERLAP + PAGE:
                        del said[next(iter(said))]
                    if len(rows) < PAGE // 2:
                        await asyncio.sleep(REST_S)
                elif self._loop.time() < alive_s:
                    with suppress(asyncio.TimeoutError):
                        await asyncio.wait_for(kicked.wait(), LOOK_S if self._shared else ALIVE_S)
                    continue
                else:
                    yield b": alive\n\n"
                alive_s = self._loop.time() + ALIVE_S
        finally:
            self.listeners -= 1
