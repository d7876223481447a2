# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""How long a client may take, and how many bytes it may send before its request is whole.

uvicorn itself closes only a connection that is idle after an answer. Here a connection is closed after `patience_s`
if its client sends nothing, does not end its TLS handshake, sends half of a head, or half of a body for which no
route waits, or does not receive its answer.
"""

from __future__ import annotations

import socket
import struct
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from sockbpf.store.web.crowd import FEW_BYTES, MOST_EARLY_BYTES, Crowd
from sockbpf.store.web.guard import AUTHORIZED, ENDLESS, HEADERS, PEER, TRUSTED
from sockbpf.store.web.handshake import begin_tls
from sockbpf.store.web.places import Standing
from sockbpf.store.web.problem import Problem, last_answer

if TYPE_CHECKING:
    import asyncio
    import ssl

MOST_MUTE = 64 * 1024
"""The most bytes of a request line with its headers; one read may add more."""
MOST_AHEAD = 32
"""Requests that may wait on one connection for the answer of one before them."""
CLOSING_S = 1.0
"""How long a client may take to agree, with TLS, that its connection ends."""
GRACE_S = 2.0
"""Added to the time for a body: the guard, where it waits for the body, answers 408 before that."""
TCP_ESTABLISHED = 1  # linux/tcp.h
TOO_MUCH = Problem(431, f"expected a head of at most {MOST_MUTE} bytes")
MALFORMED = Problem(400, "expected HTTP/1.1")
CROWDED = Problem(503, "there are too many connections", retry_after="2")


class ImpatientProtocol(HttpToolsProtocol):
    """A connection that is closed if its client is too slow.

    A timer is made only for a request that does not arrive in one piece.
    """

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
    _waits = False
    _early = b""

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._peer = self.crowd.peer_of(self.client, self.server)
        standing = self.crowd.enter(self, self._peer)
        if standing is None:
            if self.tls is None:
                self._refuse(CROWDED)
            self.transport.close()
        elif standing is Standing.WAITING:
            self._waits = True
            self._reading_alarm = self.loop.call_later(self.patience_s, self._give_up)
        else:
            self._begin()

    def admit(self) -> None:
        self._waits = False
        self._disarm()
        if self._is_left():
            self._give_up()
            return
        early, self._early = self._early, b""
        self.crowd.early_bytes -= len(early)
        self._begin(early)
        if self.tls is None:  # the handshake resumes it itself, once it has what came early
            self.transport.resume_reading()

    def _is_left(self) -> bool:
        """Whether the client has gone while nothing was read: nobody is there to be answered."""
        made = self.transport.get_extra_info("socket")
        return made is None or made.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 1)[0] != TCP_ESTABLISHED

    def _begin(self, early: bytes = b"") -> None:
        self._set_alarm()
        if self.tls is not None:
            begin_tls(
                self.loop, self.transport, self.tls, self.patience_s, self._on_handshake_end, early=early
            )
        elif early:
            self.data_received(early)

    def _keep(self, early: bytes) -> None:
        """Keep the first of what is sent on a connection that has no place, and read no more; but not of too many."""
        self.transport.pause_reading()
        self._early += early
        self.crowd.early_bytes += len(early)
        self.crowd.ask(self)
        if self._waits and len(self._early) > FEW_BYTES and self.crowd.early_bytes > MOST_EARLY_BYTES:
            self.crowd.turned_away += 1
            self.drop()

    def _on_handshake_end(self, transport: asyncio.Transport | None) -> None:
        if transport is not None:
            super().connection_made(transport)
            return
        self.transport.abort()
        self.connection_lost(None)  # the loop calls it for some failures only

    def drop(self) -> None:
        self._end_answer()
        made = self.transport.get_extra_info("socket")
        if made is not None:  # by a reset: nothing stays in the kernel, not even of thousands
            made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def data_received(self, data: bytes) -> None:
        if self._waits:
            self._keep(data)
            return
        self._mute_bytes += len(data)
        if self._mute_bytes > MOST_MUTE + len(data):
            if self._is_idle():
                self._refuse(TOO_MUCH)
            self.transport.close()
            self._end_answer()
            return
        super().data_received(data)
        self._set_alarm()

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002  the text is about our parser
        self._refuse(MALFORMED)
        self.transport.close()
        self._end_answer()

    def _refuse(self, error: Problem) -> None:
        headers, body = last_answer(error)
        lines = b"".join(b"%s: %s\r\n" % header for header in [*headers, *HEADERS])
        status = HTTPStatus(error.status)
        self.transport.write(b"HTTP/1.1 %d %s\r\n%s\r\n%s" % (status, status.phrase.encode(), lines, body))

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        self._answering = cycle
        if self.crowd.is_wanted(self):
            cycle.keep_alive = False
        super()._start_asgi_task(cycle, app)

    def on_response_complete(self) -> None:
        self._has_asked = True
        if self.scope.get(AUTHORIZED):
            self.crowd.trust(self)
        super().on_response_complete()
        self._place()
        if self.crowd.is_wanted(self) and self._is_idle() and not (self._in_head or self._in_body):
            self._give_place_up()

    def _give_place_up(self) -> None:
        """End the connection, which is idle, once its answer is sent: others wait for its place."""
        self.transport.close()
        self.crowd.leave(self)
        self._disarm()
        self._reading_alarm = self.loop.call_later(CLOSING_S, self._give_up)

    def _end_answer(self) -> None:
        """End the answer under way as if the client had disconnected.

        uvicorn itself does that to the answer of the last request alone, not to one before it.
        """
        if self._answering is not None:
            self._answering.disconnected = True
            self._answering.message_event.set()

    def _is_idle(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def _waits_for_client(self) -> bool:
        """Whether the store waits for the client, as it does unless it has a whole request to answer."""
        return self._in_head or self._in_body or self._is_idle()

    def _place(self) -> None:
        """Note in the crowd what the connection is doing.

        One that listens to a stream, or whose client does not read, may be closed to make room.
        """
        is_listener = self.scope is not None and self.scope.get("path") == ENDLESS
        if not (self._waits_for_client() or self._writing_alarm or is_listener):
            self.crowd.place(self, Standing.BUSY)
        else:
            self.crowd.place(self, Standing.QUIET if self._has_asked else Standing.MUTE)

    def _set_alarm(self) -> None:
        """Set the alarm if the store waits for the client, else take it away."""
        self._place()
        if not self._waits_for_client() or self.timeout_keep_alive_task:
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
        if self._in_head:  # what comes after a body is a trailer
            super().on_header(name, value)

    def on_headers_complete(self) -> None:
        self._in_head, self._in_body = False, True
        self._mute_bytes = 0
        self._disarm()
        if len(self.pipeline) >= MOST_AHEAD:
            raise ValueError  # the parser then drops the rest of what was read
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
        self.crowd.early_bytes -= len(self._early)
        self._early = b""
        self._disarm()
        self.resume_writing()
        self._end_answer()
        super().connection_lost(exc)

    def _disarm(self) -> None:
        if self._reading_alarm is not None:
            self._reading_alarm.cancel()
            self._reading_alarm = None

    def _give_up(self) -> None:
        self.transport.abort()  # `close` would wait until the client has received everything


def impatient(patience_s: float, crowd: Crowd, tls: ssl.SSLContext | None) -> type[ImpatientProtocol]:
    """Return the protocol for connections of this crowd; it uses TLS if `tls` is given."""
    return type("Impatient", (ImpatientProtocol,), {"patience_s": patience_s, "crowd": crowd, "tls": tls})
