# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How long a client may take, and how much it may send without saying anything.

uvicorn's own times only a connection that is idle after an answer. Here who connects and says nothing, does not end
its TLS handshake, sends half of a head, or of a body that nobody waits for, or does not take its answer, is let go
after `patience_s`.
"""

from __future__ import annotations

import socket
import struct
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sockbpf.store.web.crowd import Crowd, Standing
from sockbpf.store.web.guard import AUTHORIZED, ENDLESS, HEADERS, PEER, TRUSTED
from sockbpf.store.web.handshake import begin_tls
from sockbpf.store.web.problem import Problem, last_answer

if TYPE_CHECKING:
    import asyncio
    import ssl

MOST_MUTE = 64 * 1024
"""Most bytes of a request line with its headers, besides what one read may add."""
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
    crowd: Crowd
    tls: ssl.SSLContext | None = None
    _peer = ""
    _has_asked = False
    _reading_alarm: asyncio.TimerHandle | None = None
    _writing_alarm: asyncio.TimerHandle | None = None
    _in_head = _in_body = False
    _mute_bytes = 0
    _answering: Any = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._peer = self.crowd.peer_of(self.client, self.server)
        if not self.crowd.enter(self, self._peer):
            if self.tls is None:
                self._say(CROWDED)
            self.transport.close()
            return
        self._mind()
        if self.tls is not None:
            begin_tls(self.loop, transport, self.tls, self.patience_s, self._on_handshake_end)

    def _on_handshake_end(self, transport: asyncio.Transport | None) -> None:
        if transport is not None:
            super().connection_made(transport)
            return
        self.transport.abort()
        self.connection_lost(None)  # the loop calls it for some failures only

    def let_go(self) -> None:
        self._nobody_listens()
        made = self.transport.get_extra_info("socket")
        if made is not None:  # nothing of it is left in the kernel either, however many there are
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

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
        headers, body = last_answer(error)
        lines = b"".join(b"%s: %s\r\n" % header for header in [*headers, *HEADERS])
        status = HTTPStatus(error.status)
        self.transport.write(b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (status, status.phrase.encode(), lines, body))

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering = cycle
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self._has_asked = True
        if self.scope.get(AUTHORIZED):
            self.crowd.trust(self)
        super().on_response_complete()
        self._place()

    def _nobody_listens(self) -> None:
        """Have the answer under way end quietly; uvicorn knows only of the last request's, not of one before it."""
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def _is_unasked(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _is_its_turn(self) -> bool:
        """Whether the client is waited for, which is not so while a whole request is under way."""
        return self._in_head or self._in_body or self._is_unasked()

    def _place(self) -> None:
        """Tell the crowd whose turn it is; who listens to a stream, or does not read, holds a place and waits."""
        is_listener = self.scope is not None and self.scope.get("path") == ENDLESS
        if not (self._is_its_turn() or self._writing_alarm or is_listener):
            self.crowd.place(self, Standing.BUSY)
        else:
            self.crowd.place(self, Standing.QUIET if self._has_asked else Standing.MUTE)

    def _mind(self) -> None:
        """Set the alarm if it is the client's turn."""
        self._place()
        is_its_turn = self._is_its_turn()
        if not is_its_turn or self.timeout_keep_alive_task:
            self._disarm()
        elif self._reading_alarm is None:
            patience_s = self.patience_s + (GRACE_S if self._in_body else 0)
            self._reading_alarm = self.loop.call_later(patience_s, self._give_up)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope[TRUSTED] = self.crowd.is_ours(self)  # type: ignore[literal-required]
        self.scope[PEER] = self._peer  # type: ignore[literal-required]
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
        self._place()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._writing_alarm is not None:
            self._writing_alarm.cancel()
            self._writing_alarm = None
            self._place()

    def connection_lost(self, exc: Exception | None) -> None:
        self.crowd.leave(self)
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


def impatient(patience_s: float, crowd: Crowd, tls: ssl.SSLContext | None) -> type[ImpatientProtocol]:
    """Return the protocol with this patience, seconds, for those of this crowd; it speaks TLS if `tls` is given."""
    return type("Impatient", (ImpatientProtocol,), {"patience_s": patience_s, "crowd": crowd, "tls": tls})
