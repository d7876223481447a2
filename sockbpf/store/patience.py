"""How long a client may take, and how much it may send without saying anything.

uvicorn's own times only a connection that is idle after an answer. Here who connects and says nothing, sends half
of a head, or of a body that nobody waits for, or does not take its answer, is let go after `patience_s`.
"""

from __future__ import annotations

from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.flow_control import service_unavailable
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sockbpf.store.guard import HEADERS, Problem, told

if TYPE_CHECKING:
    import asyncio

MOST_MUTE = 64 * 1024
"""Bytes that may come and neither end a head nor be of a body, besides those of one read."""
MOST_AHEAD = 32
"""Requests that may wait on one connection for the answer of one before them."""
GRACE_S = 2.0
"""The guard in front of the application says 408 first, where it waits for the body."""
TOO_MUCH = Problem(431, f"expected a head of at most {MOST_MUTE} bytes")
MALFORMED = Problem(400, "expected HTTP/1.1")
CROWDED = Problem(503, "too many are connected", retry_after="2")


class ImpatientProtocol(HttpToolsProtocol):
    """A connection that is given up; timers are made only for a request that does not come in one piece."""

    patience_s = 15.0
    _reading_alarm: asyncio.TimerHandle | None = None
    _writing_alarm: asyncio.TimerHandle | None = None
    _in_head = _in_body = False
    _mute_bytes = 0
    _answering: Any = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._mind()

    def data_received(self, data: bytes) -> None:
        self._mute_bytes += len(data)
        if self._mute_bytes > MOST_MUTE + len(data):
            if self._is_unasked():
                self._say(TOO_MUCH)
            self.transport.close()
            self._nobody_listens()
            return
        super().data_received(data)
        self._mind()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  it tells of our parser
        self._say(MALFORMED)
        self.transport.close()
        self._nobody_listens()

    def _say(self, error: Problem) -> None:
        headers, body = told(error)
        lines = b"".join(b"%s: %s\r\n" % header for header in [*headers, *HEADERS])
        status = HTTPStatus(error.status)
        self.transport.write(b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (status, status.phrase.encode(), lines, body))

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, _crowded if app is service_unavailable else app)

    def _nobody_listens(self) -> None:
        """Have the answer under way end quietly; uvicorn knows only of the last request's, not of one before it."""
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def _is_unasked(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _mind(self) -> None:
        """Set the alarm if it is the client's turn, which is not so while a whole request is under way."""
        is_its_turn = self._in_head or self._in_body or self._is_unasked()
        if not is_its_turn or self.timeout_keep_alive_task:
            self._disarm()
        elif self._reading_alarm is None:
            patience_s = self.patience_s + (GRACE_S if self._in_body else 0)
            self._reading_alarm = self.loop.call_later(patience_s, self._give_up)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_head = True
        self._disarm()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # what comes behind a body is no header
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body = False, True
        self._mute_bytes = 0
        self._disarm()
        if len(self.pipeline) >= MOST_AHEAD:
            raise ValueError  # the rest of what was read is not looked at any more
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._mute_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._in_body = False
        self._disarm()
        super().on_message_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._writing_alarm = self.loop.call_later(self.patience_s, self._give_up)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._writing_alarm is not None:
            self._writing_alarm.cancel()
            self._writing_alarm = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        self.resume_writing()
        self._nobody_listens()
        super().connection_lost(exc)

    def _disarm(self) -> None:
        if self._reading_alarm is not None:
            self._reading_alarm.cancel()
            self._reading_alarm = None

    def _give_up(self) -> None:
        self.transport.abort()  # also what closes, but waits for a client that takes nothing


async def _crowded(_scope: Any, _receive: Any, send: Any) -> None:
    headers, body = told(CROWDED)
    await send({"type": "http.response.start", "status": CROWDED.status, "headers": [*headers, *HEADERS]})
    await send({"type": "http.response.body", "body": body})


def impatient(patience_s: float) -> type[ImpatientProtocol]:
    """Return the protocol with this patience, seconds."""
    return type("Impatient", (ImpatientProtocol,), {"patience_s": patience_s})
