"""How long a client may take to say what it wants: who connects and says nothing, or half of it, is let go."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

if TYPE_CHECKING:
    import asyncio

HEAD_S = 10.0
"""From the connection, or the beginning of a request, to the end of its head."""
MOST_HEAD = 64 * 1024
"""Bytes of a head, beyond those that came with its beginning."""


class ImpatientProtocol(HttpToolsProtocol):
    """uvicorn's own times only what is idle between requests, and not their beginning."""

    _alarm: asyncio.TimerHandle | None = None
    _head = 0

    def data_received(self, data: bytes) -> None:
        if self._alarm is not None:
            self._head += len(data)
            if self._head > MOST_HEAD + len(data):
                self._give_up()
                return
        super().data_received(data)

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
        self._head = 0
        self._alarm = self.loop.call_later(HEAD_S, self._give_up)

    def _disarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.abort()
