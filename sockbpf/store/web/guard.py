# SPDX-License-Identifier: GPL-2.0-only OR Apache-2.0
"""What every request passes before its route, and every answer after it.

Limits of size and time, who may ask, and security headers. Whatever exception a route raises, the client gets a
problem without a traceback.
"""

from __future__ import annotations

import asyncio
import hmac
import logging
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from sockbpf.store.web.origin import host_of, is_browser, is_foreign
from sockbpf.store.web.problem import UNEXPECTED, Problem, last_answer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping

    Message = MutableMapping[str, Any]
    Receive = Callable[[], Awaitable[Message]]
    Send = Callable[[Message], Awaitable[None]]
    App = Callable[[Message, Receive, Send], Awaitable[None]]

log = logging.getLogger(__name__)

ANSWER_S = 20.0
"""How long an answer may take; only a stream may take longer."""
MOST_QUERY = 16 * 1024
"""Bytes of a query string."""

BODIES = 2
"""How many bodies of the greatest size may be in memory at once, of smaller ones more; likewise of those trusted."""
SLOW_S = 30.0
"""How long a listener may take to receive what a stream sends to it."""

HOT = "/alert"
"""The path of alerts. Its route waits for the commit alone and reads no body, so it needs no limits here."""
ENDLESS = "/stream"
"""The path whose answer has no end."""

AUTHORIZED, TRUSTED, PEER = "sockbpf.authorized", "sockbpf.trusted", "sockbpf.peer"
"""Keys of the ASGI scope: whether the request has the token; whether it has it or is of a trusted user; its peer."""

POLICY = (
    b"default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self'; "
    b"frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
)
HEADERS = [
    (b"content-security-policy", POLICY),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
]


class Guard:
    """ASGI in front of the application.

    `open_paths` need no token. `hosts` are the hosts that a request may name, any if it is empty. A body may have
    `max_body` bytes, and take `body_s` seconds to arrive.
    """

    def __init__(
        self,
        app: App,
        *,
        token: str | None,
        max_body: int,
        body_s: float,
        hosts: frozenset[str],
        open_paths: Iterable[str],
    ) -> None:
        self._app = app
        self._token = f"Bearer {token}".encode() if token else b""
        self._max_body = max_body
        self._body_s = body_s
        self._hosts = hosts
        self._open_paths = frozenset(open_paths)
        self._held = {False: 0, True: 0}
        """Bytes of bodies in memory, of clients that are not trusted and of those that are."""

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            if message["type"] == "http.response.start":
                begun = True
                message["headers"] = [*message.get("headers", []), *HEADERS]
            await send(message)

        try:
            self._check(scope)
            if scope["path"] == HOT:
                await self._app(scope, receive, answer)
                return
            is_trusted = bool(scope.get(TRUSTED))
            with self._counted(is_trusted=is_trusted) as taken:
                await self._bounded(scope, self._body(scope, receive, taken, is_trusted=is_trusted), answer)
        except Problem as error:
            await self._refuse(error, answer, begun=begun)
        except asyncio.TimeoutError:
            await self._refuse(Problem(503, "this took too long", retry_after="1"), answer, begun=begun)
        except Exception:
            log.exception("unexpected")
            await self._refuse(Problem(500, UNEXPECTED), answer, begun=begun)

    async def _bounded(self, scope: Message, receive: Receive, answer: Send) -> None:
        if scope["path"] == ENDLESS:

            async def in_time(message: Message) -> None:
                await asyncio.wait_for(answer(message), SLOW_S)

            with suppress(asyncio.TimeoutError):  # a listener that does not read is disconnected
                await self._app(scope, receive, in_time)
        else:
            await asyncio.wait_for(self._app(scope, receive, answer), ANSWER_S)

    @staticmethod
    async def _refuse(error: Problem, answer: Send, *, begun: bool) -> None:
        if begun:
            return
        headers, body = last_answer(error)
        await answer({"type": "http.response.start", "status": error.status, "headers": headers})
        await answer({"type": "http.response.body", "body": body})

    def _check(self, scope: Message) -> None:
        headers: dict[bytes, bytes] = dict(scope["headers"])
        if len(scope["query_string"]) > MOST_QUERY:
            raise Problem(414, f"expected parameters of at most {MOST_QUERY} bytes")
        if self._hosts and host_of(headers.get(b"host", b"")) not in self._hosts:
            # A page of another site may make its own host name lead to this address (DNS rebinding).
            raise Problem(421, "this store is not the host that the request names")
        writes = scope["path"] == HOT or scope["method"] not in {"GET", "HEAD"}
        is_page = not writes and scope["path"] in self._open_paths
        if not is_page and is_foreign(
            headers
        ):  # a GET writes an alert: the address of an image would be enough
            raise Problem(403, "a page of another origin may not use this store")
        scope[AUTHORIZED] = False
        if self._token and scope["path"] not in self._open_paths:
            given = headers.get(b"authorization", b"")
            if not hmac.compare_digest(given, self._token):
                raise Problem(401, "expected Authorization: Bearer and the token", www_authenticate="Bearer")
            scope[AUTHORIZED] = scope[TRUSTED] = True
        # No other page can make a browser send the token. Our own page only reads.
        if writes and not scope[AUTHORIZED] and is_browser(headers):
            raise Problem(403, "a browser sends this, and not for the store's own page: it may not write")
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length[:20]) > self._max_body:
            raise Problem(413, f"expected at most {self._max_body} bytes")

    @contextmanager
    def _counted(self, *, is_trusted: bool) -> Iterator[list[int]]:
        """Count the bytes that bodies take in memory, each until its request is answered."""
        taken = [0]
        try:
            yield taken
        finally:
            self._held[is_trusted] -= taken[0]

    def _body(self, scope: Message, receive: Receive, taken: list[int], *, is_trusted: bool) -> Receive:
        end_s = asyncio.get_running_loop().time() + self._body_s
        over = scope["method"] in {"GET", "HEAD"}

        async def bounded() -> Message:
            nonlocal over
            if over:
                return await receive()  # returns when the client disconnects
            left_s = end_s - asyncio.get_running_loop().time()
            try:
                message = await asyncio.wait_for(receive(), max(left_s, 0.001))
            except asyncio.TimeoutError:
                raise Problem(408, f"expected the body within {self._body_s:g} s") from None
            size = len(message.get("body", b""))
            taken[0] += size
            self._held[is_trusted] += size
            over = not message.get("more_body", False)
            if taken[0] > self._max_body:
                raise Problem(413, f"expected at most {self._max_body} bytes")
            if self._held[is_trusted] > self._max_body * BODIES:
                # At once: else the next requests would be refused because of this one.
                self._held[is_trusted] -= taken[0]
                taken[0] = 0
                raise Problem(503, "too many bodies are being sent at once", retry_after="2")
            return message

        return bounded
