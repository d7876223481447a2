"""How long a client may take to say what it wants: who connects and says nothing, or half of it, is let go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

HEAD_S = 10.0
"""From the connection, or the end of the last answer's request, to the end of the next request's head."""


class ImpatientProtocol(HttpToolsProtocol):
    """uvicorn's own times only what is idle between requests, and not their beginning."""

    _alarm: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._arm()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._arm()

    def on_headers_complete(self) -> None:
        self._disarm()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)

    def _arm(self) -> None:
        self._disarm()
        self._alarm = self.loop.call_later(HEAD_S, self._give_up)

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()
